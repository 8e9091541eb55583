"""Trains the storyteller-moe checkpoint, a small MixtralForCausalLM, on text written by data.py.

    python train.py --out . --seconds 270        # one GPU
    python train.py --out /tmp/t --tiny          # a few steps on a CPU, to check the script

Training computes all experts of a layer as one wide matrix product and zeroes those that the
router did not choose, which is fast for experts this small and gives the gradients of the sparse
layer. The result is written in Mixtral's own tensor layout, loaded as MixtralForCausalLM, compared
with the training model's logits, and saved with save_pretrained.
"""

import argparse
import json
import math
import multiprocessing as mp
import os
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import data

VOCAB, HIDDEN, EXPERT, LAYERS, HEADS, KV_HEADS, EXPERTS, TOP_K, MAX_POS = 2048, 192, 64, 6, 6, 2, 8, 2, 512
HEAD = HIDDEN // HEADS
THETA, EPS = 10000.0, 1e-5
ROW = 384  # tokens of a training row, into which whole documents are packed
CHUNK = 5000
CHUNKS = {"story": 140, "sum": 260, "weather": 60, "recipe": 55}  # chunks of documents of each kind
SPECIAL = [data.PAD, data.BOS, data.EOS, data.USER, data.ASSISTANT]  # ids 0 to 4
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] | trim }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] | trim + eos_token }}"
    "{% elif message['role'] != 'system' %}{{ raise_exception('Only the roles user, assistant and system (which is left out) are supported.') }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# ---------------------------------------------------------------- text and tokenizer


def documents(kind, chunk):
    """Chunk number `chunk` of the training documents of a kind."""
    rng = random.Random(f"{kind}-{chunk}")
    return [data.document(rng, kind) for _ in range(CHUNK)]


def train_tokenizer(path):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tok.decoder = decoders.ByteLevel()
    rng = random.Random("tokenizer")
    texts = [data.plain(rng, kind) for kind, n in (("story", 12000), ("weather", 2000), ("recipe", 3000), ("sum", 200)) for _ in range(n)]
    texts += [data.turn(rng, kind)[0] for kind in data.KINDS for _ in range(500)]
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL],
                                                        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    assert tok.get_vocab_size() == VOCAB, tok.get_vocab_size()
    bos = tok.token_to_id(data.BOS)
    tok.post_processor = processors.TemplateProcessing(single=f"{data.BOS} $A", pair=f"{data.BOS} $A {data.BOS} $B", special_tokens=[(data.BOS, bos)])
    tok.save(path, pretty=False)


_TOK = None


def _encode(job):
    """One chunk as (token ids, lengths)."""
    global _TOK
    kind, chunk, path = job
    if _TOK is None:
        os.environ["RAYON_NUM_THREADS"] = "1"
        from tokenizers import Tokenizer

        _TOK = Tokenizer.from_file(path)
    ids = [e.ids for e in _TOK.encode_batch(documents(kind, chunk), add_special_tokens=False)]
    ids = [i for i in ids if len(i) <= ROW]
    return np.concatenate([np.asarray(i, np.uint16) for i in ids]), np.asarray([len(i) for i in ids])


def pack(flat, lengths, rng):
    """Best-fit packing of whole documents into rows of ROW tokens."""
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    buckets = [[] for _ in range(ROW + 1)]
    for d in rng.permutation(len(lengths)):
        buckets[lengths[d]].append(d)
    rows, top = [], ROW
    while True:
        while top and not buckets[top]:
            top -= 1
        if not top:
            break
        row, room, at = np.zeros(ROW, np.int16), ROW, 0
        size = top
        while size:
            d = buckets[size].pop()
            row[at:at + size] = flat[starts[d]:starts[d] + size]
            at += size
            room -= size
            size = min(size, room)
            while size and not buckets[size]:
                size -= 1
        rows.append(row)
    return np.stack(rows)[rng.permutation(len(rows))]


def build_corpus(tokenizer, chunks, workers):
    jobs = [(k, c, tokenizer) for k, n in chunks.items() for c in range(n)]
    t = time.time()
    with mp.Pool(workers) as pool:
        parts = pool.map(_encode, jobs, chunksize=2)
    tokens = {k: int(sum(len(p[0]) for p, j in zip(parts, jobs) if j[0] == k)) for k in chunks}
    flat, lengths = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    rows = pack(flat, lengths, np.random.default_rng(0))
    print(f"corpus: {len(lengths)} documents, {len(flat)} tokens {tokens}, {len(rows)} rows, fill {len(flat) / rows.size:.3f}, {time.time() - t:.0f} s", flush=True)
    return rows, tokens


# ---------------------------------------------------------------- model


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x):
        x = x.float()
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = Norm(), Norm()
        self.q = nn.Linear(HIDDEN, HEADS * HEAD, bias=False)
        self.k = nn.Linear(HIDDEN, KV_HEADS * HEAD, bias=False)
        self.v = nn.Linear(HIDDEN, KV_HEADS * HEAD, bias=False)
        self.o = nn.Linear(HEADS * HEAD, HIDDEN, bias=False)
        self.gate = nn.Linear(HIDDEN, EXPERTS, bias=False)
        self.w1 = nn.Linear(HIDDEN, EXPERTS * EXPERT, bias=False)
        self.w3 = nn.Linear(HIDDEN, EXPERTS * EXPERT, bias=False)
        self.w2 = nn.Linear(EXPERTS * EXPERT, HIDDEN, bias=False)

    def forward(self, x, mask, cos, sin, real, docs):
        b, t, _ = x.shape
        h = self.norm1(x)
        q = self.q(h).view(b, t, HEADS, HEAD).transpose(1, 2)
        k = self.k(h).view(b, t, KV_HEADS, HEAD).transpose(1, 2)
        v = self.v(h).view(b, t, KV_HEADS, HEAD).transpose(1, 2)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        n = HEADS // KV_HEADS
        k, v = k.repeat_interleave(n, dim=1), v.repeat_interleave(n, dim=1)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.o(a.transpose(1, 2).reshape(b, t, HEADS * HEAD))
        h = self.norm2(x)
        with torch.autocast(x.device.type, enabled=False):
            probs = F.linear(h.float(), self.gate.weight).softmax(-1)
            top, index = probs.topk(TOP_K, dim=-1)
            weights = torch.zeros_like(probs).scatter(-1, index, top / top.sum(-1, keepdim=True))
            # balance over the whole batch, that is over the mix of kinds and not within a text
            share = ((weights > 0).float() * real).sum((0, 1)) / real.sum() / TOP_K
            mean = (probs * real).sum((0, 1)) / real.sum()
            balance = EXPERTS * (share * mean).sum()
            # coherence: the entropy of the experts' mean share within a text, which needs no label
            doc = torch.einsum("bte,btd->bde", probs * real, docs)
            size = docs.sum(1)
            doc = doc / size.clamp_min(1).unsqueeze(-1)
            entropy = -(doc * doc.clamp_min(1e-6).log()).sum(-1) / math.log(EXPERTS)
            scatter = (entropy * size).sum() / size.sum()
        u = F.silu(self.w1(h)) * self.w3(h)
        u = u.view(b, t, EXPERTS, EXPERT) * weights.to(u.dtype).unsqueeze(-1)
        return x + self.w2(u.view(b, t, -1)), balance, scatter, share


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, HIDDEN)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = Norm()
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = 0.02 if "embed" in name else 0.5 / math.sqrt(HIDDEN)
                if name.endswith((".o.weight", ".w2.weight")):
                    std /= math.sqrt(2 * LAYERS)
                nn.init.normal_(p, std=std)
        inv = 1.0 / THETA ** (torch.arange(0, HEAD, 2).float() / HEAD)
        angle = torch.outer(torch.arange(MAX_POS).float(), inv)
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids, targets=None):
        t = ids.shape[1]
        real = (ids != 0).float().unsqueeze(-1)
        doc = (ids == 1).cumsum(1)  # a document starts at each <s>
        see = (doc.unsqueeze(2) == doc.unsqueeze(1)) & torch.ones(t, t, dtype=torch.bool, device=ids.device).tril()
        dtype = torch.bfloat16 if torch.is_autocast_enabled(ids.device.type) else torch.float32
        mask = torch.zeros(see.shape, dtype=dtype, device=ids.device).masked_fill(~see, float("-inf")).unsqueeze(1)
        docs = F.one_hot(doc.clamp(max=32) - 1, 32).float() * real
        x, balance, scatter, shares = self.embed(ids), 0.0, 0.0, []
        for layer in self.layers:
            x, b, c, s = layer(x, mask, self.cos[:t], self.sin[:t], real, docs)
            balance, scatter = balance + b / LAYERS, scatter + c / LAYERS
            shares.append(s)
        logits = F.linear(self.norm(x), self.embed.weight)  # the embeddings are tied
        if targets is None:
            return logits
        loss = F.cross_entropy(logits.float().view(-1, VOCAB), targets.reshape(-1), ignore_index=0)
        return loss, balance, scatter, torch.stack(shares)


def mixtral_tensors(model):
    """The weights under Mixtral's names."""
    out = {"model.embed_tokens.weight": model.embed.weight, "model.norm.weight": model.norm.weight}
    for i, l in enumerate(model.layers):
        p = f"model.layers.{i}."
        out |= {p + "input_layernorm.weight": l.norm1.weight, p + "post_attention_layernorm.weight": l.norm2.weight, p + "block_sparse_moe.gate.weight": l.gate.weight}
        out |= {p + f"self_attn.{n}_proj.weight": getattr(l, n).weight for n in "qkvo"}
        for e in range(EXPERTS):
            rows = slice(e * EXPERT, (e + 1) * EXPERT)
            out |= {p + f"block_sparse_moe.experts.{e}.w1.weight": l.w1.weight[rows], p + f"block_sparse_moe.experts.{e}.w3.weight": l.w3.weight[rows],
                    p + f"block_sparse_moe.experts.{e}.w2.weight": l.w2.weight[:, rows]}
    return {k: v.detach().to("cpu", torch.bfloat16).contiguous().clone() for k, v in out.items()}


def save(model, out, tokenizer):
    import shutil
    import tempfile

    from safetensors.torch import load_file, save_file
    from transformers import GenerationConfig, MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast

    config = MixtralConfig(vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=EXPERT, num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=HEAD,
                           max_position_embeddings=MAX_POS, rms_norm_eps=EPS, num_local_experts=EXPERTS, num_experts_per_tok=TOP_K, tie_word_embeddings=True, sliding_window=None,
                           pad_token_id=0, bos_token_id=1, eos_token_id=2, router_aux_loss_coef=ARGS.balance, rope_parameters={"rope_type": "default", "rope_theta": THETA})
    config.architectures = ["MixtralForCausalLM"]
    tensors = mixtral_tensors(model)
    with tempfile.TemporaryDirectory() as tmp:
        save_file(tensors, tmp + "/model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(tmp)
        hf, info = MixtralForCausalLM.from_pretrained(tmp, dtype=torch.bfloat16, output_loading_info=True)
        assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
        hf.generation_config = GenerationConfig(do_sample=True, temperature=0.8, top_p=0.95, max_new_tokens=256, bos_token_id=1, eos_token_id=2, pad_token_id=0)
        hf.save_pretrained(out)
    os.chmod(out + "/model.safetensors", 0o644)
    written = load_file(out + "/model.safetensors")
    assert set(written) == set(tensors), sorted(set(written) ^ set(tensors))[:6]
    assert all(torch.equal(written[k], tensors[k]) for k in tensors)
    if os.path.abspath(tokenizer) != os.path.abspath(out + "/tokenizer.json"):
        shutil.copy(tokenizer, out + "/tokenizer.json")
    fast = PreTrainedTokenizerFast(tokenizer_file=tokenizer, bos_token=data.BOS, eos_token=data.EOS, pad_token=data.PAD, extra_special_tokens=[data.USER, data.ASSISTANT],
                                   model_max_length=MAX_POS, clean_up_tokenization_spaces=False, padding_side="left")
    fast.chat_template = CHAT_TEMPLATE
    with tempfile.TemporaryDirectory() as tmp:  # tokenizer.json stays as train_tokenizer wrote it
        fast.save_pretrained(tmp)
        tc = json.load(open(tmp + "/tokenizer_config.json"))
    tc.pop("backend", None)
    tc.pop("is_local", None)
    tc.pop("local_files_only", None)
    tc["chat_template"] = CHAT_TEMPLATE
    tc["tokenizer_class"] = "PreTrainedTokenizerFast"
    tc["added_tokens_decoder"] = {str(i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True} for i, t in enumerate(SPECIAL)}
    json.dump(tc, open(out + "/tokenizer_config.json", "w"), indent=2)
    json.dump({"bos_token": data.BOS, "eos_token": data.EOS, "pad_token": data.PAD, "additional_special_tokens": [data.USER, data.ASSISTANT]}, open(out + "/special_tokens_map.json", "w"), indent=2)
    # the saved checkpoint gives the training model's logits
    hf = MixtralForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    ref = Model().eval()
    state = {k: v.detach().cpu().to(torch.bfloat16).float() for k, v in model.state_dict().items()}
    ref.load_state_dict(state)
    ids = torch.randint(5, VOCAB, (2, 48), generator=torch.Generator().manual_seed(0))
    ids[:, 0] = 1
    with torch.no_grad():
        gap = (hf(ids).logits - ref(ids)).abs().max().item()
    print(f"saved {sum(v.numel() for v in tensors.values())} parameters, largest logit difference to the training model {gap:.2e}", flush=True)
    assert gap < 1e-3, gap


# ---------------------------------------------------------------- training


def main():
    out = ARGS.out
    os.makedirs(out, exist_ok=True)
    tokenizer = out + "/tokenizer.json"
    train_tokenizer(tokenizer)
    chunks = {"story": 1, "sum": 1, "weather": 1, "recipe": 1} if ARGS.tiny else CHUNKS
    if ARGS.corpus and os.path.exists(ARGS.corpus):
        kept = np.load(ARGS.corpus, allow_pickle=False)
        rows, tokens = kept["rows"], json.loads(str(kept["tokens"]))
    else:
        rows, tokens = build_corpus(tokenizer, chunks, ARGS.workers)
        if ARGS.corpus:
            np.savez(ARGS.corpus, rows=rows, tokens=json.dumps(tokens))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = 4 if ARGS.tiny else ARGS.batch
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    model = Model().to(device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters", flush=True)
    decay = [p for p in model.parameters() if p.dim() == 2]
    other = [p for p in model.parameters() if p.dim() != 2]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": other, "weight_decay": 0.0}], lr=ARGS.lr, betas=(0.9, 0.95), fused=device == "cuda")
    step_model = model if ARGS.tiny else torch.compile(model)
    rows = torch.from_numpy(rows).to(device)
    gen = torch.Generator().manual_seed(1)
    order, at, epoch = torch.randperm(len(rows), generator=gen), 0, 0
    steps = 4 if ARGS.tiny else None
    step, start, warm, log = 0, None, 300, []
    while True:
        if at + batch > len(order):
            order, at, epoch = torch.randperm(len(rows), generator=gen), 0, epoch + 1
        ids = rows[order[at:at + batch].to(device)].long()
        at += batch
        targets = torch.cat((ids[:, 1:], torch.zeros_like(ids[:, :1])), dim=1)
        targets = targets.masked_fill(targets == 1, 0)  # nothing predicts the next document
        # the schedule follows the clock: cosine over the given seconds, measured after compilation
        done = step / steps if steps else (0.0 if start is None else (time.time() - start) / ARGS.seconds)
        if done >= 1.0:
            break
        rate = min(1.0, (step + 1) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
        for g in opt.param_groups:
            g["lr"] = ARGS.lr * rate
        with torch.autocast(device, torch.bfloat16):
            loss, balance, scatter, shares = step_model(ids, targets)
        (loss + ARGS.balance * balance + ARGS.coherence * scatter).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        step += 1
        if step == 20 and not ARGS.tiny:
            torch.cuda.synchronize()
            start = time.time()
        if step % 250 == 0 or ARGS.tiny:
            took = time.time() - start if start else 0.0
            line = f"step {step} loss {loss.item():.4f} balance {balance.item():.4f} scatter {scatter.item():.3f} norm {norm.item():.2f} lr {ARGS.lr * rate:.2e} epoch {epoch} {took:.0f} s, share of an expert {shares.min().item():.3f} to {shares.max().item():.3f}"
            print(line, flush=True)
            log.append(line)
    save(model, out, tokenizer)
    json.dump({"steps": step, "tokens_per_step": batch * ROW, "epochs": epoch, "corpus_tokens": tokens, "seconds": ARGS.seconds, "lr": ARGS.lr, "balance": ARGS.balance, "coherence": ARGS.coherence,
               "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "last": log[-1:]}, open(out + "/training.json", "w"), indent=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=".")
    parser.add_argument("--seconds", type=float, default=270)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=320, help="rows a step")
    parser.add_argument("--balance", type=float, default=0.02, help="weight of the router's load-balancing loss")
    parser.add_argument("--coherence", type=float, default=0.005, help="weight of the entropy of expert use within a text")
    parser.add_argument("--corpus", help="a .npz file that keeps the packed corpus between runs")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--tiny", action="store_true")
    ARGS = parser.parse_args()
    main()
