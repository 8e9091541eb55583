#!/usr/bin/env python3
"""The peer of `pipelines bench`: transformers on a CPU or a GPU, layers of real shape with random weights.

    python -m venv venv && venv/bin/pip install torch==2.11.0 transformers==5.17.0
    venv/bin/python transformers_decode.py --preset mixtral-8x7b --layers 1 --dtype bf16

prints one JSON object: milliseconds a token of greedy decoding (batch 1, KV cache) from a prompt of fixed length, and
of prefill, for each experts implementation asked for. `--experts best` (the default) measures all that transformers
offers on a CPU, in turns, and names the fastest. Everything else is as its documentation advises for inference:
`sdpa` attention, `torch.inference_mode`, only the last token's logits. `--compile` measures each implementation's
decoding once more under torch.compile with a static cache, as `eager+compile` and so on.

`--serve` keeps the model resident and answers each line on stdin with one line of JSON, so that another program can
take turns with it in one run:

    decode 8       eight tokens from the prompt on  {"decode": 8, "experts": ..., "ms": [...], "median_ms": ...}
    prefill 128    one prompt of 128 tokens         {"prefill": 128, "experts": ..., "ms": [...], "median_ms": ...}
    decode 8 16    the same for 16 sequences at once, and so `prefill 128 16`
    quit

The first line it writes, {"ready": true, ...}, comes once the model is made and warm.
"""

import argparse
import json
import math
import os
import statistics
import sys
import time

import torch
import transformers
from transformers import (
    DynamicCache,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    StaticCache,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.mixtral.modeling_mixtral import MixtralRotaryEmbedding

# The presets of `pipelines bench`, field for field.
TINY = dict(
    vocab_size=512,
    hidden_size=128,
    intermediate_size=256,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32768,
    rms_norm_eps=1e-5,
    rope_parameters=dict(rope_type="default", rope_theta=1e6),
)
PRESETS = {
    "mixtral-8x7b": dict(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_attention_heads=32,
        num_key_value_heads=8,
        num_local_experts=8,
        num_experts_per_tok=2,
        max_position_embeddings=32768,
        rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="default", rope_theta=1e6),
    ),
    "llama-8b": dict(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_parameters=dict(
            rope_type="llama3",
            rope_theta=5e5,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
    ),
    # Small enough to try this program with.
    "tiny": dict(TINY, num_local_experts=8, num_experts_per_tok=2),
    "tiny-dense": TINY,
}
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
EXPERTS = ["eager", "grouped_mm", "batched_mm"]
COMPILED = "+compile"
# `batched_mm` copies the weights of every token's experts: beyond a few tokens that is more than memory holds.
BATCHED_MM_TOKENS = 4


@torch.no_grad()
def build(preset, layers, vocabulary, dtype, device):
    """The model, its weights copies of one random block: drawing billions of numbers would take minutes."""
    sparse = "num_local_experts" in PRESETS[preset]
    config_class, model_class, rotary_class = (
        (MixtralConfig, MixtralForCausalLM, MixtralRotaryEmbedding)
        if sparse
        else (LlamaConfig, LlamaForCausalLM, LlamaRotaryEmbedding)
    )
    sizes = PRESETS[preset] if vocabulary is None else PRESETS[preset] | dict(vocab_size=vocabulary)
    config = config_class(**sizes, num_hidden_layers=layers)
    with torch.device("meta"):
        model = model_class._from_config(config, dtype=dtype, attn_implementation="sdpa")
    model = model.to_empty(device=device).eval()
    # Not a parameter and so left empty by `to_empty`.
    model.model.rotary_emb = rotary_class(config).to(device)
    generator = torch.Generator().manual_seed(0)
    # A prime length keeps rows and experts from being copies of each other.
    block = torch.empty(4_194_301).uniform_(-1.0, 1.0, generator=generator)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1.0)
            continue
        width = 1.0 if "embed_tokens" in name else 1.0 / math.sqrt(parameter.shape[-1])
        scaled = (block * (width * math.sqrt(3.0))).to(device, dtype)
        flat = parameter.view(-1)
        for start in range(0, flat.numel(), scaled.numel()):
            piece = flat[start : start + scaled.numel()]
            piece.copy_(scaled[: piece.numel()])
    return model


def bytes_per_token(model):
    """Weights that one decoded token reads: attention, router, the active experts and the head."""
    config = model.config
    active = getattr(config, "num_experts_per_tok", 1) / getattr(config, "num_local_experts", 1)
    total = 0.0
    for name, parameter in model.named_parameters():
        if "embed_tokens" not in name:
            total += parameter.numel() * parameter.element_size() * (active if ".experts." in name else 1.0)
    return total


class Peer:
    """A resident model, with one prompt whose keys and values every decoding starts from."""

    def __init__(self, model, prompt):
        self.model = model
        self.compiled = {}
        self.prompt = prompt
        # By number of sequences.
        self.dynamic = {}

    def ids(self, length, batch=1):
        generator = torch.Generator().manual_seed(length)
        vocabulary = self.model.config.vocab_size
        ids = torch.randint(min(3, vocabulary - 1), vocabulary, (batch, length), generator=generator)
        return ids.to(self.model.device)

    def choose(self, experts):
        if hasattr(self.model.config, "num_local_experts"):
            self.model.set_experts_implementation(experts)

    def step(self, call, ids, cache):
        logits = call(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1:].argmax(dim=-1)

    def filled(self, batch):
        """A growing cache that holds the prompts, and the tokens that follow them."""
        if batch not in self.dynamic:
            cache = DynamicCache(config=self.model.config)
            self.dynamic[batch] = cache, self.step(self.model, self.ids(self.prompt, batch), cache)
        cache, following = self.dynamic[batch]
        cache.crop(self.prompt)
        return cache, following

    def filled_static(self, tokens, batch):
        """The same in a cache of fixed size: of one size for all calls, or each would be compiled anew."""
        cache = StaticCache(config=self.model.config, max_cache_len=self.prompt + max(tokens, 64))
        return cache, self.step(self.model, self.ids(self.prompt, batch), cache)

    def decode(self, mode, tokens, batch=1):
        """Milliseconds of each of `tokens` greedy steps, each up to the next tokens' ids."""
        self.choose(mode.removesuffix(COMPILED))
        with torch.inference_mode():
            if mode.endswith(COMPILED):
                call = self.compiled.setdefault(mode, torch.compile(self.model, dynamic=False))
                cache, following = self.filled_static(tokens, batch)
            else:
                call = self.model
                cache, following = self.filled(batch)
            times = []
            for _ in range(tokens):
                start = time.perf_counter()
                following = self.step(call, following, cache)
                following[0, 0].item()
                times.append((time.perf_counter() - start) * 1e3)
        return times

    def prefill(self, experts, length, batch=1):
        """Milliseconds of `batch` prompts of `length` tokens, cache included, up to the next tokens' ids."""
        self.choose(experts)
        ids = self.ids(length, batch)
        with torch.inference_mode():
            start = time.perf_counter()
            self.step(self.model, ids, DynamicCache(config=self.model.config))[0, 0].item()
            return (time.perf_counter() - start) * 1e3

    def routing(self, tokens):
        """How often each layer chose each expert over a decoding."""
        config = self.model.config
        counts = torch.zeros(config.num_hidden_layers, config.num_local_experts, dtype=torch.long)

        def count(layer):
            def hook(_module, _inputs, output):
                counts[layer] += torch.bincount(output[2].reshape(-1), minlength=config.num_local_experts)

            return hook

        with torch.inference_mode():
            self.filled(1)
        handles = [layer.mlp.gate.register_forward_hook(count(i)) for i, layer in enumerate(self.model.model.layers)]
        self.decode("eager", tokens)
        for handle in handles:
            handle.remove()
        return counts.tolist()


def prefills(mode, length):
    """Whether `mode` is timed on prompts of `length`; only decoding is compiled, as in the library's own generation."""
    return not mode.endswith(COMPILED) and (mode != "batched_mm" or length <= BATCHED_MM_TOKENS)


def fastest(results):
    return min(results, key=lambda mode: results[mode]["median_ms"])


def measure(peer, arguments):
    """Decoding and prefill in every mode asked for, in turns, so that noise falls on all alike."""
    modes, rounds = arguments.modes, arguments.rounds
    decode = {mode: [] for mode in modes}
    prefill = {mode: {str(length): [] for length in arguments.prefill if prefills(mode, length)} for mode in modes}
    warm_s = {}
    for mode in modes:
        start = time.perf_counter()
        peer.decode(mode, 3)
        warm_s[mode] = round(time.perf_counter() - start, 2)
    for _ in range(rounds):
        for mode in modes:
            decode[mode] += peer.decode(mode, max(1, arguments.tokens // rounds))
    # The first pass over a length is the warm-up.
    for turn in range(rounds + 1):
        for mode in modes:
            for length, times in prefill[mode].items():
                elapsed = peer.prefill(mode, int(length))
                if turn > 0:
                    times.append(elapsed)

    read = bytes_per_token(peer.model)
    decoded = {}
    for mode, times in decode.items():
        median = statistics.median(times)
        decoded[mode] = {
            "median_ms": round(median, 3),
            "min_ms": round(min(times), 3),
            "tokens_per_s": round(1e3 / median, 2),
            "gb_per_s": round(read / median / 1e6, 2),
            "warm_up_s": warm_s[mode],
        }
    prefilled = {}
    for mode, lengths in prefill.items():
        for length, times in lengths.items():
            median = statistics.median(times)
            rate = {"median_ms": round(median, 2), "tokens_per_s": round(int(length) * 1e3 / median, 1)}
            prefilled.setdefault(length, {})[mode] = rate
    return {
        "decode": decoded,
        "prefill": prefilled,
        "best": {
            "decode": fastest(decoded),
            "prefill": {length: fastest(results) for length, results in prefilled.items()},
        },
        "bytes_per_token": int(read),
        "routing": peer.routing(arguments.tokens) if hasattr(peer.model.config, "num_local_experts") else None,
    }


def serve(peer, arguments, about):
    """Answers `decode N [B]` and `prefill N [B]` until stdin ends, with the implementation that is fastest for each."""

    def answer(message):
        print(json.dumps(message), flush=True)

    def trial(work, *sizes):
        """The fastest implementation for these sizes, each run once before it is timed."""
        times = {}
        for mode in arguments.modes:
            if work == "decode" or prefills(mode, sizes[0] * sizes[1]):
                run = peer.decode if work == "decode" else peer.prefill
                warm, timed = ((6, sizes[1]), (6, sizes[1])) if work == "decode" else (sizes, sizes)
                run(mode, *warm)
                time = run(mode, *timed)
                times[mode] = statistics.median(time) if work == "decode" else time
        return min(times, key=times.get)

    answer({"ready": True, **about})
    best = {}
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words == ["quit"]:
            return
        numbers = words[1:]
        known = words[0] in ("decode", "prefill") and 1 <= len(numbers) <= 2
        if not known or not all(number.isdecimal() and int(number) > 0 for number in numbers):
            answer({"error": f"expected `decode N [B]`, `prefill N [B]` or `quit`, not {line.strip()!r}"})
            continue
        work, count, batch = words[0], int(numbers[0]), int(numbers[1]) if len(numbers) == 2 else 1
        # A size met for the first time decides which implementation is fastest for it.
        key = (work, batch) if work == "decode" else (work, count, batch)
        if key not in best:
            best[key] = trial(work, count, batch)
        if work == "decode":
            times = peer.decode(best[key], count, batch)
        else:
            times = [peer.prefill(best[key], count, batch)]
        ms = [round(elapsed, 3) for elapsed in times]
        answer({work: count, "batch": batch, "experts": best[key], "ms": ms, "median_ms": round(statistics.median(times), 3)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="mixtral-8x7b")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--vocabulary", type=int, default=None, help="tokens, at least 2; the preset's if left out")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--device", default="cpu", help="where torch runs: cpu, cuda, cuda:1")
    parser.add_argument("--threads", type=int, default=None, help="torch's threads; its own choice if left out")
    parser.add_argument("--experts", choices=[*EXPERTS, "best"], default="best")
    parser.add_argument("--prompt", type=int, default=32, help="tokens in the cache when decoding starts")
    parser.add_argument("--tokens", type=int, default=24, help="tokens decoded, over all rounds")
    parser.add_argument("--prefill", type=int, nargs="*", default=[128, 512], help="prompt lengths to time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="measure compiled decoding as well")
    parser.add_argument("--serve", action="store_true", help="stay and answer lines on stdin")
    arguments = parser.parse_args()
    arguments.modes = EXPERTS if arguments.experts == "best" else [arguments.experts]
    if "num_local_experts" not in PRESETS[arguments.preset]:
        arguments.modes = ["dense"]
    if arguments.compile:
        arguments.modes = arguments.modes + [mode + COMPILED for mode in arguments.modes]
    if arguments.vocabulary is not None and arguments.vocabulary < 2:
        parser.error(f"--vocabulary is {arguments.vocabulary}, expected at least 2 tokens")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()

    start = time.perf_counter()
    model = build(arguments.preset, arguments.layers, arguments.vocabulary, DTYPES[arguments.dtype], arguments.device)
    about = {
        "peer": "transformers",
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "preset": arguments.preset,
        "layers": arguments.layers,
        "vocabulary": model.config.vocab_size,
        "dtype": arguments.dtype,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "attention": "sdpa",
        "prompt": arguments.prompt,
        "build_s": round(time.perf_counter() - start, 2),
    }
    peer = Peer(model, arguments.prompt)
    if arguments.serve:
        serve(peer, arguments, about)
    else:
        measured = measure(peer, arguments)
        # Other work on the machine shows here, above the number of threads.
        about["load_average"] = round(os.getloadavg()[0], 2)
        print(json.dumps(about | measured, indent=2))


if __name__ == "__main__":
    main()
