#!/usr/bin/env python3
"""The peers of our GPU kernels: torch's attention and vLLM's experts, and our own figures in the same run.

    python gpu_kernels.py --pipelines target/release/pipelines --vllm vllm-unpacked

Needs torch, and triton for the experts; nothing else of vLLM is imported. Its wheel is taken apart as follows:

    pip download vllm==0.33.0 --no-deps --only-binary=:all:
    unzip vllm-*.whl 'vllm/model_executor/layers/fused_moe/*' 'vllm-*.dist-info/*' -d vllm-unpacked

What is measured, all in bf16:

prefill_attention  `scaled_dot_product_attention`, causal, one prompt, 32 query heads on 8 key heads of 128, by every
                   backend that runs: `grouped` (`enable_gqa`), and `repeated`, keys and values repeated to 32 heads
                   beforehand (not timed). Ours reads keys and values from pages of 64 tokens.
decode_attention   The same for one new token of each sequence. Ours appends the token's key and value as well.
experts            A layer of Mixtral-8x7B (hidden 4096, intermediate 14336, 2 of 8 experts a token): vLLM's
                   `fused_moe_kernel` for gate and up, SiLU and multiply, `fused_moe_kernel` for down, and the sum over
                   a token's experts; by vLLM's configurations, tuned for the device and default. SiLU and the sum
                   are C++ operations in vLLM and Triton kernels of this file here. The tokens are sorted by expert
                   beforehand, which is *not timed* (for one token vLLM sorts nothing); ours sorts within the time
                   from 33 tokens on, and adds the sum to hidden states in f32. Both sides route alike: token i to
                   experts 2t + 3i and the next, modulo 8, in turn t, so that all experts get as many tokens.

How: a CUDA graph of several calls, on other copies of the inputs each call (four times the L2 cache in all, or other
experts), replayed 25 times; the median, a call. `spread` is the range of the replays over their median. Every result is
compared with float32 (`error`, norm of the difference over norm), and what is wrong is not timed. `pipelines doctor`
measures ours, launched one by one, before all else and after it.

Prints a line of JSON for each measurement; lastly, for each case, the fastest of theirs over the mean of our two, above
1 where ours is faster, and a table (left out with `--json`). `share` is that of the roof: of bytes copied (read and
written) a second, or of a matrix product of 8192 cubed, both probed before and after. A part that cannot be
measured is a line on stderr, and the rest goes on.
"""

import argparse
import ast
import functools
import importlib.util
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention, silu

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

PARTS = ["attention", "experts"]
REPLAYS = 25
# What one replay takes at least, in microseconds: the launch of a graph is nothing beside it.
REPLAY = 2000
# Above every rounding of operands and results to bf16, below what any mistake makes.
MOST_ERROR = 2e-2

# Attention of Llama-3-8B and Mixtral-8x7B.
HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128
PROMPTS = [512, 2048, 8192]
STEPS = [(1, 8192), (16, 8192), (1, 32768)]
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}

# Experts of Mixtral-8x7B.
HIDDEN, INTERMEDIATE, EXPERTS, CHOSEN = 4096, 14336, 8, 2
# Up to so many tokens reading the weights takes longer than multiplying, as our own check says.
FEW_TOKENS = 32


def note(text):
    print(f"gpu_kernels: {text}", file=sys.stderr, flush=True)


def first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# Timing


def timed(launch, turns):
    """Microseconds a turn of each of the replays of `launch`, which does so many turns."""
    launch()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(REPLAYS + 1)]
    events[0].record()
    for event in events[1:]:
        launch()
        event.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) * 1e3 / turns for start, end in zip(events, events[1:])]


def measure(run, copies):
    """How long `run(turn)` takes, which reads copy `turn` modulo `copies` of its inputs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run(0)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for turn in range(copies):
            run(turn)
        end.record()
    torch.cuda.synchronize()
    rounds = math.ceil(REPLAY / max(1.0, start.elapsed_time(end) * 1e3))
    turns = copies * min(rounds, 100)

    def calls():
        for turn in range(turns):
            run(turn)

    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            calls()
        launch, by_graph = graph.replay, True
    except RuntimeError as error:
        note(f"no graph, launches one by one: {first_line(error)}")
        torch.cuda.synchronize()
        launch, by_graph = calls, False
    times = timed(launch, turns)
    median = statistics.median(times)
    return {
        "us": round(median, 2),
        "spread": round((max(times) - min(times)) / median, 3),
        "turns": turns,
        "graph": by_graph,
    }


def copies_beyond_cache(bytes_of_one):
    return max(2, math.ceil(4 * torch.cuda.get_device_properties(0).L2_cache_size / bytes_of_one))


def roofs():
    """Bytes that a copy reads and writes a second, and operations of a matrix product a second."""
    source = torch.randn(1 << 29, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    # Not in a graph, whose copies go another way, at two thirds of the speed.
    target.copy_(source)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(8):
        target.copy_(source)
    end.record()
    end.synchronize()
    copy = begin.elapsed_time(end) * 1e3 / 8
    left, right = (part.view(8192, 8192) for part in source[: 2 * 8192**2].chunk(2))
    out = target[: 8192**2].view(8192, 8192)
    product = measure(lambda _: torch.mm(left, right, out=out), 4)["us"]
    return {"bytes": 2 * source.nbytes / copy * 1e6, "operations": 2 * 8192**3 / product * 1e6}


# Attention


def random(*shape, device):
    return torch.randn(shape, device=device, dtype=torch.bfloat16)


def attention_inputs(batch, queries, keys, device):
    """Queries, keys and values as (batch, heads, tokens, head_dim)."""
    query = random(batch, queries, HEADS, HEAD_DIM, device=device).transpose(1, 2)
    if queries == keys:
        # As the linear maps of a prompt leave them.
        key, value = (random(batch, keys, KV_HEADS, HEAD_DIM, device=device).transpose(1, 2) for _ in range(2))
    else:
        # As a cache holds them.
        key, value = (random(batch, KV_HEADS, keys, HEAD_DIM, device=device) for _ in range(2))
    return query, key, value


def repeated_heads(tensor):
    """Keys or values (batch, kv_heads, tokens, head_dim) for every query head, tokens and heads in memory as before."""
    repeats = HEADS // tensor.shape[1]
    if tensor.is_contiguous():
        return tensor.repeat_interleave(repeats, dim=1)
    return tensor.transpose(1, 2).repeat_interleave(repeats, dim=2).transpose(1, 2)


def attention_error(output, query, key, value):
    """How far the last queries of the first sequence are from a computation in float32."""
    keys = key.shape[2]
    last = min(8, query.shape[2])
    query, output = (tensor[0, :, -last:].float() for tensor in (query, output))
    key, value = (repeated_heads(tensor[:1])[0].float() for tensor in (key, value))
    scores = query @ key.transpose(1, 2) / math.sqrt(HEAD_DIM)
    later = torch.ones(last, keys, device=key.device, dtype=torch.bool).triu(keys - last + 1)
    expected = scores.masked_fill(later, -math.inf).softmax(-1) @ value
    return ((output - expected).norm() / expected.norm()).item()


def attention_ways(batch, queries, keys):
    """Measures every backend and way on one case."""
    one = 2 * batch * HEAD_DIM * (queries * HEADS + 2 * keys * KV_HEADS)
    grouped = [attention_inputs(batch, queries, keys, "cuda") for _ in range(copies_beyond_cache(one))]
    for way in ["grouped", "repeated"]:
        inputs = grouped
        if way == "repeated":
            inputs = [(query, repeated_heads(key), repeated_heads(value)) for query, key, value in grouped]
        for name, backend in BACKENDS.items():

            def run(turn):
                query, key, value = inputs[turn % len(inputs)]
                return scaled_dot_product_attention(
                    query, key, value, is_causal=queries > 1, enable_gqa=way == "grouped"
                )

            try:
                with warnings.catch_warnings(), sdpa_kernel(backend):
                    warnings.simplefilter("ignore")
                    error = attention_error(run(0), *inputs[0])
                    if not error < MOST_ERROR:
                        raise RuntimeError(f"wrong by {error:.1e}")
                    row = {"by": f"torch {name}, {way}", **measure(run, len(inputs)), "error": round(error, 5)}
            except RuntimeError as error:
                note(f"torch {name}, {way}, {batch} x {queries} on {keys} tokens: {first_line(error)}")
            else:
                yield row


def measure_attention(report):
    for length in PROMPTS:
        # Two products over the lower triangle.
        work = {"operations": 2 * HEADS * HEAD_DIM * length * (length + 1)}
        for row in attention_ways(1, length, length):
            report.add("prefill_attention", f"bf16, a prompt of {length}", row, work)
        torch.cuda.empty_cache()
    for batch, length in STEPS:
        work = {"bytes": 2 * 2 * batch * length * KV_HEADS * HEAD_DIM}
        for row in attention_ways(batch, 1, length):
            report.add("decode_attention", f"bf16, {batch} sequences of {length}", row, work)
        torch.cuda.empty_cache()


# Experts

if triton is not None:

    @triton.jit
    def silu_and_multiply(gate_up, activated, width, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        mask = column < width
        gate = tl.load(gate_up + row * 2 * width + column, mask=mask).to(tl.float32)
        up = tl.load(gate_up + row * 2 * width + width + column, mask=mask).to(tl.float32)
        result = gate / (1.0 + tl.exp(-gate)) * up
        tl.store(activated + row * width + column, result.to(activated.dtype.element_ty), mask=mask)

    @triton.jit
    def sum_over_slots(results, output, width, SLOTS: tl.constexpr, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        mask = column < width
        total = tl.zeros((BLOCK,), dtype=tl.float32)
        for slot in tl.static_range(SLOTS):
            total += tl.load(results + (row * SLOTS + slot) * width + column, mask=mask).to(tl.float32)
        tl.store(output + row * width + column, total.to(output.dtype.element_ty), mask=mask)


class Vllm:
    """What is wanted of an unpacked package: its kernel, and how it would be launched."""

    FUNCTIONS = ["write_zeros_to_output", "fused_moe_kernel", "get_default_config"]
    # Stand-ins for what these functions name of the rest of vLLM.
    PREAMBLE = """
import types
import torch
import triton
import triton.language as tl
envs = types.SimpleNamespace(VLLM_BATCH_INVARIANT=False)
current_platform = types.SimpleNamespace(is_rocm=lambda: torch.version.hip is not None)
"""

    def __init__(self, directory):
        found = sorted(directory.glob("vllm-*.dist-info"))
        if not found:
            raise FileNotFoundError(f"{directory} holds no vllm-*.dist-info: it is not an unpacked wheel")
        self.version = found[-1].name.removeprefix("vllm-").removesuffix(".dist-info")
        self.folder = directory / "vllm/model_executor/layers/fused_moe"
        source = (self.folder / "fused_moe.py").read_text()
        lines, parts = source.splitlines(), [self.PREAMBLE]
        functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
        for name in self.FUNCTIONS:
            if name not in functions:
                raise ValueError(f"vLLM {self.version} has no function {name}")
            node = functions[name]
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            parts.append("\n".join(lines[start - 1 : node.end_lineno]))
        # Triton reads the source of a kernel from its file.
        with tempfile.TemporaryDirectory() as temporary:
            path = pathlib.Path(temporary) / "vllm_fused_moe.py"
            path.write_text("\n\n\n".join(parts) + "\n")
            specification = importlib.util.spec_from_file_location(path.stem, path)
            self.module = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(self.module)
        self.kernel = self.module.fused_moe_kernel

    @functools.cached_property
    def tuned(self):
        """Tuned configurations by number of tokens, if there are any for these experts and this device."""
        device = torch.cuda.get_device_name().replace(" ", "_")
        # One of several names of the same chip.
        if "H200" in device.split("_"):
            device = "NVIDIA_H200"
        path = self.folder / "configs" / f"E={EXPERTS},N={INTERMEDIATE},device_name={device}.json"
        if not path.exists():
            note(f"vLLM {self.version} has no {path.name}: only its default configuration is measured")
            return None
        configurations = json.loads(path.read_text())
        configurations.pop("triton_version", None)
        return {int(tokens): configuration for tokens, configuration in configurations.items()}

    def configurations(self, tokens):
        """Its own for so many tokens: the tuned one that it would take, and the one it takes where there is none."""
        sizes = dict(M=tokens, E=EXPERTS, N=INTERMEDIATE, K=HIDDEN, topk=CHOSEN)
        found = {"default": self.module.get_default_config(**sizes, dtype=None)}
        if self.tuned:
            found["tuned"] = self.tuned[min(self.tuned, key=lambda count: abs(count - tokens))]
        return found

    def product(self, x, weights, output, alignment, configuration, factors=None):
        """output = rows of x times the weights of the rows' experts, times `factors`, as vLLM launches it.

        x: (rows, in_features), each row for as many pairs as output has a row; weights: (experts, out_features,
        in_features); output: (tokens, slots, out_features).
        """
        order, experts, padded = alignment
        pairs, block = output.shape[0] * output.shape[1], configuration["BLOCK_SIZE_M"]
        if order is None:
            most = pairs * block
        else:
            most = min(len(order), pairs * block) if x.shape[0] < block else len(order)
        meta = {"GROUP_SIZE_M": 1, **configuration, "SPLIT_K": 1}
        options = {name: meta.pop(name) for name in list(meta) if name.startswith("num_")}
        given = {
            "a_ptr": x,
            "b_ptr": weights,
            "c_ptr": output,
            "b_bias_ptr": None,
            "a_scale_ptr": None,
            "b_scale_ptr": None,
            "topk_weights_ptr": factors,
            "sorted_token_ids_ptr": order,
            "expert_ids_ptr": experts,
            "num_tokens_post_padded_ptr": padded,
            "N": weights.shape[1],
            "K": weights.shape[2],
            "EM": most,
            "num_valid_tokens": pairs,
            "stride_am": x.stride(0),
            "stride_ak": x.stride(1),
            "stride_be": weights.stride(0),
            "stride_bk": weights.stride(2),
            "stride_bn": weights.stride(1),
            "stride_cm": output.stride(1),
            "stride_cn": output.stride(2),
            **dict.fromkeys("stride_asm stride_ask stride_bse stride_bsk stride_bsn stride_bbe stride_bbn".split(), 0),
            "group_n": 0,
            "group_k": 0,
            "naive_block_assignment": order is None,
            "MUL_ROUTED_WEIGHT": factors is not None,
            "top_k": pairs // x.shape[0],
            "compute_type": tl.bfloat16,
            **dict.fromkeys("use_fp8_w8a8 use_int8_w8a8 use_int8_w8a16 per_channel_quant".split(), False),
            "HAS_BIAS": False,
            "SWAP_AB": False,
            "USE_TD": False,
            **meta,
        }
        blocks = triton.cdiv(most, block) * triton.cdiv(weights.shape[1], configuration["BLOCK_SIZE_N"])
        # Versions differ in which of these they have.
        self.kernel[(blocks,)](**{name: given[name] for name in self.kernel.arg_names if name in given}, **options)

    def align(self, chosen, block):
        """The order in which pairs of token and slot are taken, the expert of each block of them, and their number.

        Each expert's pairs are filled up to whole blocks with a pair that there is not. For very few, there is no
        order: each has a block.
        """
        pairs = chosen.numel()
        if pairs * 4 <= EXPERTS and "naive_block_assignment" in self.kernel.arg_names:
            return None, chosen.flatten(), torch.tensor([pairs * block], device=chosen.device, dtype=torch.int32)
        most = pairs + EXPERTS * (block - 1)
        if pairs < EXPERTS:
            most = min(most, pairs * block)
        order = torch.full([most], pairs, dtype=torch.int32)
        experts = torch.zeros(math.ceil(most / block), dtype=torch.int32)
        flat, end = chosen.flatten().cpu(), 0
        for expert in range(EXPERTS):
            of_expert = (flat == expert).nonzero().flatten()
            order[end : end + len(of_expert)] = of_expert
            blocks = math.ceil(len(of_expert) / block)
            experts[end // block : end // block + blocks] = expert
            end += blocks * block
        padded = torch.tensor([end], dtype=torch.int32)
        return order.to(chosen.device), experts.to(chosen.device), padded.to(chosen.device)


def choose(tokens, turn, device):
    """The experts of each token, (tokens, slots), as our own check chooses them."""
    first = 2 * turn + 3 * torch.arange(tokens)
    return torch.stack([(first + slot) % EXPERTS for slot in range(CHOSEN)], 1).to(device, torch.int32)


class Layer:
    """Random weights of a layer, gate's rows before those of up."""

    def __init__(self, device):
        self.gate_up = random(EXPERTS, 2 * INTERMEDIATE, HIDDEN, device=device).mul_(1 / math.sqrt(HIDDEN))
        self.down = random(EXPERTS, HIDDEN, INTERMEDIATE, device=device).mul_(1 / math.sqrt(INTERMEDIATE))

    def expected(self, x, chosen, factors):
        """The layer in float32."""
        result = torch.zeros_like(x, dtype=torch.float32)
        for expert in range(EXPERTS):
            token, slot = (chosen == expert).nonzero(as_tuple=True)
            gate, up = (x[token].float() @ self.gate_up[expert].float().T).chunk(2, dim=1)
            down = (silu(gate) * up) @ self.down[expert].float().T
            result.index_add_(0, token, down * factors[token, slot, None])
        return result


class VllmLayer:
    """A layer for a number of tokens, by vLLM's kernel."""

    TURNS = 4

    def __init__(self, vllm, layer, tokens, configuration, device):
        self.vllm, self.layer, self.configuration = vllm, layer, configuration
        self.x = random(tokens, HIDDEN, device=device)
        self.factors = torch.rand(tokens, CHOSEN, device=device)
        self.chosen = [choose(tokens, turn, device) for turn in range(self.TURNS)]
        self.alignments = [vllm.align(chosen, configuration["BLOCK_SIZE_M"]) for chosen in self.chosen]
        empty = functools.partial(torch.full, fill_value=math.nan, device=device, dtype=torch.bfloat16)
        self.gate_up = empty([tokens, CHOSEN, 2 * INTERMEDIATE])
        self.activated = empty([tokens * CHOSEN, INTERMEDIATE])
        self.results = empty([tokens, CHOSEN, HIDDEN])
        self.output = empty([tokens, HIDDEN])

    def run(self, turn):
        layer, alignment, pairs = self.layer, self.alignments[turn % self.TURNS], len(self.activated)
        self.vllm.product(self.x, layer.gate_up, self.gate_up, alignment, self.configuration)
        grid = (pairs, triton.cdiv(INTERMEDIATE, 1024))
        silu_and_multiply[grid](self.gate_up, self.activated, INTERMEDIATE, BLOCK=1024)
        self.vllm.product(self.activated, layer.down, self.results, alignment, self.configuration, self.factors)
        grid = (len(self.output), triton.cdiv(HIDDEN, 1024))
        sum_over_slots[grid](self.results, self.output, HIDDEN, SLOTS=CHOSEN, BLOCK=1024)

    def error(self):
        """How far the layer is from a computation in float32."""
        worst = 0.0
        for turn in [1, 0]:
            self.output.fill_(math.nan)
            self.run(turn)
            expected = self.layer.expected(self.x, self.chosen[turn], self.factors)
            error = ((self.output.float() - expected).norm() / expected.norm()).item()
            # No number is never the larger of two.
            worst = error if not error <= worst else worst
        return worst


def measure_experts(report, directory, counts):
    if triton is None:
        raise RuntimeError("triton is not installed")
    vllm = Vllm(directory)
    layer = Layer("cuda")
    # Of an expert: gate, up and down.
    weights = 3 * HIDDEN * INTERMEDIATE
    for tokens in counts:
        if tokens <= FEW_TOKENS:
            work = {"bytes": 2 * weights * len(choose(tokens, 0, "cpu").unique())}
        else:
            work = {"operations": 2 * weights * tokens * CHOSEN}
        for name, configuration in vllm.configurations(tokens).items():
            try:
                peer = VllmLayer(vllm, layer, tokens, configuration, "cuda")
                error = peer.error()
                if not error < MOST_ERROR:
                    raise RuntimeError(f"wrong by {error:.1e}")
                by = f"vllm {vllm.version}, {name}"
                row = {"by": by, **measure(peer.run, peer.TURNS), "error": round(error, 5)}
            except Exception as error:  # Of Triton's own kinds too.
                note(f"vLLM, {tokens} tokens, {name}: {first_line(error)}")
            else:
                report.add("experts", f"bf16 {tokens}x{HIDDEN}x{INTERMEDIATE}, {CHOSEN} of {EXPERTS}", row, work)


# Ours


def timed_checks(found):
    """Kernel, case and microseconds of what `pipelines doctor --json` has timed; what is wrong is left out."""
    for check in (check for device in found for check in device.get("checks", [])):
        told = check["check"]
        if not check["passes"]:
            note(f"ours is wrong: {told['kernel']}, {told['case']}: off by {told['error']:.1e}")
        elif told["speed"] is not None:
            yield told["kernel"], told["case"], told["speed"]["microseconds"]


def measure_ours(report, binary, parts, when):
    command = [binary.resolve(), "doctor", "--device", "cuda", "--kernels", ",".join(parts), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        note(f"{' '.join(map(str, command))} exits with {done.returncode}: {first_line(done.stderr)}")
    # It writes what it has measured even where a check fails.
    for kernel, case, microseconds in timed_checks(json.loads(done.stdout) if done.stdout.strip() else []):
        report.add(kernel, case, {"by": f"ours, {when}", "us": round(microseconds, 2)})


class Report:
    """Prints rows as they come, and what they amount to."""

    def __init__(self):
        self.rows, self.work, self.roofs = [], {}, []

    def add(self, kernel, case, row, work=None):
        self.rows.append({"kernel": kernel, "case": case, **row})
        if work is not None:
            self.work[kernel, case] = work
        print(json.dumps(self.rows[-1]), flush=True)

    def add_roofs(self, when):
        found = roofs()
        self.roofs.append(found)
        tera = {f"tera_{name}_per_s": round(rate / 1e12, 2) for name, rate in found.items()}
        print(json.dumps({"kernel": "roof", "case": when, "by": "torch", **tera}), flush=True)

    def share(self, key, microseconds):
        """Of the roof that bounds this case, the mean of its probes."""
        if key not in self.work or not self.roofs:
            return None
        ((unit, amount),) = self.work[key].items()
        return round(amount / (microseconds / 1e6) / statistics.mean(roof[unit] for roof in self.roofs), 3)

    def pairs(self):
        """For each case that theirs has, the fastest of theirs and the mean of ours."""
        cases = {}
        for row in self.rows:
            sides = cases.setdefault((row["kernel"], row["case"]), ([], []))
            sides[row["by"].startswith("ours")].append(row)
        for (kernel, case), (theirs, ours) in cases.items():
            if not theirs:
                continue
            best = min(theirs, key=lambda row: row["us"])
            pair = {"kernel": kernel, "case": case, "by": "theirs / ours", "theirs": best["by"]}
            pair |= {"theirs_us": best["us"], "theirs_share": self.share((kernel, case), best["us"])}
            if ours:
                mean = statistics.mean(row["us"] for row in ours)
                pair |= {"ours_us": round(mean, 2), "ours_share": self.share((kernel, case), mean)}
                pair["ratio"] = round(best["us"] / mean, 3)
            yield pair


def table(pairs):
    head = f"{'kernel':<18} {'case':<26} {'theirs':>10} {'roof':>6} {'ours':>10} {'roof':>6} {'ratio':>6}  by"
    yield head
    for pair in pairs:

        def side(name):
            if f"{name}_us" not in pair:
                return f"{'-':>10} {'':>6}"
            share = pair[f"{name}_share"]
            return f"{pair[f'{name}_us']:>7.1f} us " + (f"{100 * share:>4.0f} %" if share is not None else f"{'':>6}")

        ratio = f"{pair['ratio']:.2f}" if "ratio" in pair else "-"
        yield f"{pair['kernel']:<18} {pair['case']:<26} {side('theirs')} {side('ours')} {ratio:>6}  {pair['theirs']}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", choices=PARTS, nargs="+", default=PARTS, help="what to measure; all if left out")
    parser.add_argument("--vllm", type=pathlib.Path, metavar="DIR", help="vLLM's wheel, unpacked, for the experts")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1, 16, 512, 8192], help="for the experts")
    parser.add_argument("--pipelines", type=pathlib.Path, metavar="PATH", help="our command, to be measured beside")
    parser.add_argument("--json", action="store_true", help="print no table")
    arguments = parser.parse_args()
    if min(arguments.tokens) < 1:
        parser.error("--tokens: at least 1")
    if not torch.cuda.is_available():
        parser.exit(1, "gpu_kernels: torch finds no CUDA device\n")

    versions = {"torch": torch.__version__, "triton": triton and triton.__version__}
    about = {"device": torch.cuda.get_device_name(), "dtype": "bf16", **versions}
    print(json.dumps(about), flush=True)
    report = Report()

    def attempt(name, part, *details):
        start = time.perf_counter()
        try:
            part(*details)
            note(f"{name}: {time.perf_counter() - start:.0f} s")
        except Exception as error:  # What else can be measured still is.
            note(f"{name}: {first_line(error)}")
        torch.cuda.empty_cache()

    def ours(when):
        if arguments.pipelines is not None:
            attempt(f"ours, {when}", measure_ours, report, arguments.pipelines, arguments.kernels, when)

    ours("before")
    attempt("roofs", report.add_roofs, "before")
    if "attention" in arguments.kernels:
        attempt("attention", measure_attention, report)
    if "experts" in arguments.kernels and arguments.vllm is not None:
        attempt("experts", measure_experts, report, arguments.vllm, arguments.tokens)
    attempt("roofs", report.add_roofs, "after")
    ours("after")

    pairs = list(report.pairs())
    for pair in pairs:
        print(json.dumps(pair), flush=True)
    if not arguments.json:
        print("", *table(pairs), sep="\n")
    if not pairs:
        sys.exit(1)


if __name__ == "__main__":
    main()
