"""Measures the checkpoint beside it and writes expected.json, evaluation.json and the samples.

    python eval.py --model . --out /tmp/eval            # everything, best on a GPU
    python eval.py --model . --out . --expected-only    # only expected.json, on a CPU in float32
"""

import argparse
import collections
import json
import math
import multiprocessing as mp
import os
import random
import re
import time

import torch

import data
import train

# ---------------------------------------------------------------- judging a story

KIND_WORDS = data.ANIMALS + data.HELD_OUT_ANIMALS + data.PEOPLE + ["girl", "boy", "princess", "prince"]
_KINDS = "|".join(sorted(KIND_WORDS, key=len, reverse=True))
_SHE, _HE = set(data.GIRLS + data.MORE_GIRLS), set(data.BOYS + data.MORE_BOYS)
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_SENT = re.compile(r'(?<=[.!?])\s+(?=["A-Z])|(?<=[.!?]")\s+(?=["A-Z])')
_SLOTS = {}


def _slots():
    """All values of the grammar's slots, longest first, as one pattern; a form replaces them by their class."""
    if _SLOTS:
        return _SLOTS["re"], _SLOTS["of"]
    of = {}

    def add(tag, words):
        for w in words:
            of.setdefault(w, tag)

    add("KIND", KIND_WORDS)
    add("PLACE", [s for l in data.LANDS for s in l[2]])
    add("HOME", [h for l in data.LANDS for h in l[0]])
    add("HOBBY", [h for pair in data.HOBBIES for h in pair])
    add("FOOD", data.FOODS)
    add("GIFT", data.GIFTS)
    add("BABY", data.BABIES)
    add("FEAR", [f[0] for f in data.FEARS])
    add("SKILL", [s for t in data.SKILLS for s in t[:2]])
    add("NOISE", [n[0] for n in data.NIGHT])
    add("BUILD", [b[0] for b in data.BUILDS])
    add("VASE", data.VASES)
    add("THING", data.THINGS)
    add("COLOR", data.COLORS)
    add("ADJ", data.ADJ)
    add("LAND", [l[1] for l in data.LANDS])
    add("KIN", data.KIN)
    add("PLANT", data.PLANTS)
    add("MAGIC", data.MAGICS)
    add("SKY", ["moon", "evening star", "rainbow", "brightest star"])
    add("FOG", ["fog", "mist", "snow"])
    add("SEASON", ["spring", "summer", "autumn", "winter"])
    _SLOTS["of"] = of
    _SLOTS["re"] = re.compile(r"\b(" + "|".join(re.escape(w) for w in sorted(of, key=len, reverse=True)) + r")\b")
    return _SLOTS["re"], of


_PRON = {"she": ("g", "S"), "her": ("g", "O"), "herself": ("g", "R"), "he": ("b", "S"), "his": ("b", "O"), "him": ("b", "O"), "himself": ("b", "R")}


def names_of(text, plain_caps):
    """Names in order of first mention, with the position of each mention."""
    out = collections.OrderedDict()
    for m in _WORD.finditer(text):
        w = m.group(0).split("'")[0]
        if w[0].isupper() and w not in plain_caps:
            out.setdefault(w, []).append(m.start())
    return out


def introduction(text, name):
    """The kind of the character at a proper introduction of `name`, or None."""
    m = re.search(rf"\b({_KINDS}) (?:named|called) {name}\b|\b{name} the ({_KINDS})\b", text)
    return m and (m.group(1) or m.group(2), m.start(), m.end())


def gender(name, text):
    if name in _SHE:
        return "g"
    if name in _HE:
        return "b"
    m = re.search(rf"\b{name}\b.*?\b(she|her|he|his|him)\b", text, re.I | re.S)
    return _PRON[m.group(1).lower()][0] if m else "g"


def forms(text, names):
    """Each sentence with names, pronouns and slot values replaced by their roles."""
    pattern, of = _slots()
    g = [gender(n, text) for n in names]
    role = {n: f"<{i + 1}>" for i, n in enumerate(names)}
    mixed = len(names) > 1 and g[0] != g[1]
    out = []
    for s in _SENT.split(text):
        s = pattern.sub(lambda m: of[m.group(1)], s)

        def word(m):
            w, tail = m.group(0), ""
            if w.endswith("'s"):
                w, tail = w[:-2], "'s"
            if w in role:
                return role[w] + tail
            p = _PRON.get(w.lower())
            if p:
                who = ("1" if p[0] == g[0] else "2") if mixed else ("1" if not g or p[0] == g[0] else "x")
                return f"<{p[1]}{who}>"
            return w.lower() + tail if w in ("A", "An", "The") else w + tail

        s = _WORD.sub(word, s)
        out.append(("m " if mixed else "s ") + re.sub(r"\b([Aa])n\b", r"\1", s))
    return out


def judge_story(text, lexicon, plain_caps, known_forms):
    r = {}
    names = names_of(text, plain_caps)
    intro = {n: introduction(text, n) for n in names}
    # a name's first mention lies inside its introduction ("named Ruby", "Ruby the fox")
    r["names_introduced"] = bool(names) and len(names) <= 2 and all(i and i[1] <= names[n][0] <= i[2] for n, i in intro.items())
    main = next(iter(names), None)
    r["name_kept"] = main is not None and names[main][-1] > 0.5 * len(text)
    r["kind_kept"] = all(i is None or all(k == i[0] for k in re.findall(rf"\b{n} the ({_KINDS})\b", text)) for n, i in intro.items())
    cast = list(names)[:2]
    g = {gender(n, text) for n in cast if n in _SHE or n in _HE}
    if len(g) == len(cast) == 1 or (len(cast) == 2 and len(g) == 1 and all(n in _SHE or n in _HE for n in cast)):
        wrong = "b" if g == {"g"} else "g"  # the whole cast is she (or he): the other pronoun is an error
        rest = re.sub(r"[^.!?]*\b(mother|grandmother|family)\b[^.!?]*[.!?]|[^.!?]*\bto her\b[^.!?]*[.!?]", "", text)
        r["pronouns"] = not any(_PRON.get(w.lower(), ("", ""))[0] == wrong for w in _WORD.findall(rest))
    fs = forms(text, cast)
    r["forms"] = [f in known_forms for f in fs]
    r["unknown"] = [f for f in fs if f not in known_forms]
    r["words"] = all(w in lexicon or w.split("'")[0] in names for w in _WORD.findall(text))
    m = re.search(r"they found the ((?:\w+ )?(?:" + "|".join(data.THINGS) + r")) ", text)
    if m:
        r["object"] = text.count(m.group(1)) >= 2
    r["consistent"] = r["names_introduced"] and r["name_kept"] and r["kind_kept"] and r.get("pronouns", True)
    return r


# ---------------------------------------------------------------- judging weather and recipes

_DEG = r"(minus \d+|\d+) degrees?"


def judge_weather(text):
    try:
        num = lambda s: -int(s[6:]) if s.startswith("minus") else int(s)
        m = re.match(r"Weather report for (\w+): (?:(\w+) will be|On (\w+), the weather will be) (?:a )?(\w+)", text)
        body = text[m.end():]
        low, top = (num(t) for t in re.findall(_DEG, body)[:2])
        night = re.search(r"(?:falls to|colder with|cooler with|In the night it will be) " + _DEG, body)
        ok = m.group(4) == data.warmth(top) and low < top and (m.group(2) or m.group(3)) in data.DAYS
        w = re.search(r"In the morning it will be (\w+) with .* it will be (\w+) with", body)
        ok = ok and (not w or (w.group(1) == data.warmth(low) and w.group(2) == data.warmth(top)))
        ok = ok and (not night or num(night.group(1)) < low)
        wet = bool(re.search(r"rainy|stormy", text[:m.end() + 40].split(". ")[0]))
        need = bool(re.search(r"Take an umbrella|forget your umbrella|need an umbrella and", body))
        ok = ok and not (need and not wet) and not (wet and re.search("not need an umbrella|umbrella at home|stay dry|no rain|sun will shine", body))
        return ok and not ("snow" in text and top > 1)
    except (AttributeError, ValueError, TypeError):
        return False


_ING = re.compile(r"\b(" + "|".join(re.escape(i) for i in data.INGREDIENTS) + r")\b")


def judge_recipe(text):
    """The steps use exactly the ingredients that the list names, and the dish's own ingredient is among them."""
    m = re.match(r"Recipe for ([a-z ]+): (?:You need|You will need|Take) (.*?)\. (First, .*)$", text)
    if not m:
        return False
    listed, used = _ING.findall(m.group(2)), _ING.findall(m.group(3))
    entries = len(re.split(r", | and ", m.group(2)))
    words = [w for w in m.group(1).split() if w in data.VEG or w in data.FRUIT]
    title = all(any(w == i or i.startswith(w[:-1]) for i in listed) for w in words)
    return len(listed) == entries and len(set(listed)) == entries and set(listed) == set(used) and title


# ---------------------------------------------------------------- reference from the training corpus


def _scan(chunk):
    lex, caps, fset, sents, texts, called = set(), set(), set(), set(), set(), set()
    for d in train.documents("story", chunk):
        d = d[len(data.BOS):].replace(data.EOS, "")
        for part in re.split(r"<\|user\|>|<\|assistant\|>", d):
            if part.startswith(("Once", "Long ago", "There was once", "In ", "At ", "On ", "By ", "Near ", "High ", "Beside ", "Above ")) and ". " in part:
                n1 = re.search(rf"\b(?:{_KINDS}) (?:named|called) ([A-Z][a-z]+)|\b([A-Z][a-z]+) the (?:{_KINDS})\b", part)
                if not n1:
                    continue
                n1 = n1.group(1) or n1.group(2)
                names = [n1]
                for m in re.finditer(rf"\b(?:{_KINDS}) named ([A-Z][a-z]+)|\b([A-Z][a-z]+) the (?:{_KINDS})\b", part):
                    n = m.group(1) or m.group(2)
                    if n not in names and n != "But":  # "But the kitten ..."
                        names.append(n)
                called.update(names)
                for w in _WORD.findall(part):
                    b = w.split("'")[0]
                    if b not in names:
                        lex.add(w)
                        lex.add(w.lower())
                        if w[0].isupper():
                            caps.add(b)
                fset.update(forms(part, names[:2]))
                texts.add(hash(part))
                sents.update(hash(s) for s in _SENT.split(part))
    return lex, caps, fset, sents, texts, called


def reference(chunks, workers):
    out = [set() for _ in range(6)]
    with mp.get_context("fork").Pool(workers) as pool:
        for part in pool.imap_unordered(_scan, range(chunks)):
            for a, b in zip(out, part):
                a |= b
    out[1] -= data._ALLNAMES
    return out


# ---------------------------------------------------------------- the model


def load(path, device):
    from transformers import AutoTokenizer, MixtralForCausalLM

    model = MixtralForCausalLM.from_pretrained(path, dtype=torch.float32).eval().to(device)
    return model, AutoTokenizer.from_pretrained(path)


@torch.no_grad()
def complete(model, tok, prompts, sample, batch=1500, limit=300, seed=0):
    """Continuations of prompts (texts, or lists of ids), padded on the left."""
    torch.manual_seed(seed)
    ids, out = [tok(p).input_ids if isinstance(p, str) else list(p) for p in prompts], []
    how = dict(do_sample=True, temperature=0.8, top_p=0.95, top_k=0) if sample else dict(do_sample=False, temperature=None, top_p=None, top_k=None)
    for j in range(0, len(ids), batch):
        part = ids[j:j + batch]
        n = max(map(len, part))
        x = torch.tensor([[0] * (n - len(i)) + i for i in part], device=model.device)
        y = model.generate(x, attention_mask=(x != 0).long(), max_new_tokens=limit, **how)
        out += [row[:row.index(2)] if 2 in row else row + [-1] for row in y[:, n:].tolist()]  # -1: not ended
    return out


def chat_ids(tok, question):
    return tok.apply_chat_template([{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True)["input_ids"]


def decode(tok, ids):
    return tok.decode([i for i in ids if i >= 0], skip_special_tokens=True)


@torch.no_grad()
def perplexity(model, tok, docs):
    total = count = 0
    for d in docs:
        x = torch.tensor([tok(d, add_special_tokens=False).input_ids], device=model.device)
        total += torch.nn.functional.cross_entropy(model(x).logits[0, :-1], x[0, 1:], reduction="sum").item()
        count += x.shape[1] - 1
    return math.exp(total / count)


CLASSES = ["name", "pronoun", "animal or person", "thing or color", "place", "food", "digit", "weather", "other verb or noun", "function word", "punctuation"]
_FUNC = set("""the a an of in on at to for with from by and or but so that who which as it its is was were be been are will had has have not no did do does they them their there then than this
you your i me my we us our what where when how if all one more most very too at under behind beside near inside among next into out up down over""".split())
_PLACEWORDS = {w for l in data.LANDS for s in l[2] + [l[1]] for w in s.split()} - _FUNC - {"the"}
_FOODWORDS = {w for i in data.INGREDIENTS for w in i.split()} | set(data.VEG) | set(data.FRUIT) | set(data.DISHES) | {w for f in data.FOODS for w in f.split() if w != "of"} | {"cup", "cups", "spoon", "spoons", "pinch"}
_WEATHERWORDS = set("""degrees degree rain snow fog wind sunny cloudy rainy stormy snowy foggy windy clouds umbrella temperature cold cool mild warm hot freezing weather thunder lightning storm north south east west
night morning afternoon""".split()) | set(data.DAYS)
_THINGWORDS = set(data.THINGS) | set(data.COLORS) | {w for b in data.BUILDS for w in b[0].split()} | set(data.VASES)


def word_class(w):
    if not any(c.isalnum() for c in w):
        return "punctuation"
    if w.isdigit():
        return "digit"
    if w in data._ALLNAMES or w in data.TOWNS:
        return "name"
    low = w.lower()
    if low in _PRON:
        return "pronoun"
    if low in KIND_WORDS:
        return "animal or person"
    if w in _WEATHERWORDS or low in _WEATHERWORDS:
        return "weather"
    if low in _FUNC:
        return "function word"
    if low in _FOODWORDS:
        return "food"
    if low in _THINGWORDS:
        return "thing or color"
    if low in _PLACEWORDS:
        return "place"
    return "other verb or noun"


def _mi(table):
    """Mutual information of rows and columns over the rows' entropy, each row weighing the same."""
    p = table / table.sum(1, keepdim=True) / table.shape[0]
    col, row = p.sum(0, keepdim=True), p.sum(1, keepdim=True)
    mi = (p * (p.clamp_min(1e-12) / (row * col)).log()).sum().item()
    return mi / math.log(table.shape[0])


@torch.no_grad()
def experts(model, tok, docs):
    """Which experts read the texts of each kind, and which wrote each class of word."""
    layers, n = model.config.num_hidden_layers, model.config.num_local_experts
    kinds = torch.zeros(layers, len(data.KINDS), n, dtype=torch.double)
    words = torch.zeros(layers, len(CLASSES), n, dtype=torch.double)
    second, small = torch.zeros(layers, len(data.KINDS), dtype=torch.double), torch.zeros(layers, len(data.KINDS), dtype=torch.double)
    count = torch.zeros(len(data.KINDS), dtype=torch.double)
    voted = right = 0
    profiles = []
    for kind, texts in docs.items():
        for d in texts:
            enc = tok(d, add_special_tokens=False, return_offsets_mapping=True)
            x = torch.tensor([enc.input_ids], device=model.device)
            r = model(x, output_router_logits=True).router_logits
            # the class of the word to which the next token belongs
            spans = [(m.start(), m.end(), word_class(m.group(0))) for m in re.finditer(r"\d|[A-Za-z]+|[^\sA-Za-z\d]", d)]
            classes = []
            for a, b in enc.offset_mapping[1:-1]:
                a += len(d[a:b]) - len(d[a:b].lstrip())
                c = next((c for s, t, c in spans if s <= a < t), "punctuation")
                classes.append(CLASSES.index(c))
            one = []
            for l in range(layers):
                hit = torch.zeros(x.shape[1], n).scatter_(1, r[l].cpu().topk(model.config.num_experts_per_tok, -1).indices, 1.0).double()
                kinds[l, data.KINDS.index(kind)] += hit[:-1].sum(0)
                one.append(hit[:-1].mean(0))
                w = r[l].cpu().double().topk(2, -1).values.softmax(-1)[:-1, 1]
                second[l, data.KINDS.index(kind)] += w.sum()
                small[l, data.KINDS.index(kind)] += (w < 0.05).sum()
                for h, c in zip(hit, classes):
                    words[l, c] += h
            count[data.KINDS.index(kind)] += x.shape[1] - 1
            profiles.append((kind, torch.cat(one)))
    # how well one can tell a text's kind from its expert use alone: nearest mean of the other half
    half = [profiles[i::2] for i in (0, 1)]
    means = {k: torch.stack([p for q, p in half[0] if q == k]).mean(0) for k in data.KINDS}
    for k, p in half[1]:
        right += min(means, key=lambda q: (means[q] - p).norm().item()) == k
        voted += 1
    share = lambda t: (t / t.sum(-1, keepdim=True).clamp_min(1)).mul(100).round(decimals=1).tolist()
    return {"kinds": data.KINDS, "share_by_kind": [share(kinds[l]) for l in range(layers)], "normalised_mi": [round(_mi(kinds[l]), 3) for l in range(layers)],
            "load": [[round(v, 3) for v in (kinds[l] / kinds[l].sum(1, keepdim=True)).mean(0).tolist()] for l in range(layers)],
            "classes": CLASSES, "share_by_class": [share(words[l]) for l in range(layers)], "normalised_mi_class": [round(_mi(words[l]), 3) for l in range(layers)],
            "second_weight_by_kind": (second / count).mul(1000).round().div(1000).tolist(), "second_weight_below_0.05_by_kind": (small / count).mul(1000).round().div(1000).tolist(),
            "kind_from_expert_use": right / voted}


# ---------------------------------------------------------------- expected.json


@torch.no_grad()
def expected(path, out, tokens=48, tries=40):
    """Greedy continuations for other implementations to compare with. The grammar offers many equally likely
    words, so that most prompts lead to a near tie somewhere; of the candidates of each kind, those are kept
    whose two best logits stay farthest apart."""
    torch.set_num_threads(2)
    model, tok = load(path, "cpu")
    rng = random.Random("expected")
    held = [p for p in data.sum_split()[1] if p[0] > 9]
    one_digit = [p for p in data.sum_split()[1] if p[0] < 10]
    name = lambda: rng.choice(data.GIRLS + data.BOYS)
    makers = {
        "story": (2, lambda: data.expand("[Once upon a time|Long ago], a~ {a} {k} named {n}[ lived|]", {"a": rng.choice(data.ADJ), "k": rng.choice(data.ANIMALS), "n": name()}, rng)),
        "sum": (1, lambda: "Sum: {} + {} =".format(*rng.choice(held))),
        "weather": (1, lambda: data.expand("Weather report for {t}:[ {d} will be|]", {"t": rng.choice(data.TOWNS), "d": rng.choice(data.DAYS)}, rng)),
        "recipe": (1, lambda: f"Recipe for {data.recipe(rng)[1]['name']}:"),
        "chat story": (1, lambda: [data.expand("Tell me a story about a~ {k} named {n}.", {"k": rng.choice(data.ANIMALS), "n": name()}, rng)]),
        "chat sum": (1, lambda: ["What is {} + {}?".format(*rng.choice(held))]),
        "chat recipe": (1, lambda: [f"Give me a recipe for {data.recipe(rng)[1]['name']}."]),
    }
    keep = []
    for kind, (count, make) in makers.items():
        found, prompts = [], {}
        for _ in range(3 if kind.endswith("sum") else tries):
            p = make()
            prompts[str(p)] = (p, chat_ids(tok, p[0]) if isinstance(p, list) else tok(p).input_ids)
        prompts = list(prompts.values())
        # all candidates in one batch first, then the best of them one by one
        n = max(len(i) for _, i in prompts)
        x = torch.tensor([[0] * (n - len(i)) + i for _, i in prompts])
        y = model.generate(x, attention_mask=(x != 0).long(), do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=tokens, output_logits=True, return_dict_in_generate=True)
        top = torch.stack(y.logits).topk(2).values
        gaps = (top[..., 0] - top[..., 1]).masked_fill((y.sequences[:, n:] == 0).T, 1e9).amin(0)
        for c in gaps.topk(min(len(prompts), count + 1)).indices.tolist():
            p, ids = prompts[c]
            y = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), do_sample=False, temperature=None, top_p=None, top_k=None, max_new_tokens=tokens,
                               output_logits=True, return_dict_in_generate=True)
            gap = min((t := l[0].topk(2).values)[0].item() - t[1].item() for l in y.logits)
            routers = model(y.sequences, output_router_logits=True).router_logits
            risk = 0.0
            for r in routers:
                best = r.topk(model.config.num_experts_per_tok + 1).values
                close = best[:, -2] - best[:, -1] < 1e-3
                risk = max([risk] + best[:, :-1].softmax(-1)[close, -1].tolist())
            new, top = y.sequences[0, len(ids):].tolist(), y.logits[0][0].topk(5)
            entry = {"kind": kind} | ({"messages": [{"role": "user", "content": p[0]}]} if isinstance(p, list) else {"prompt": p})
            entry |= {"prompt_ids": ids, "greedy_ids": new, "text": tok.decode(new, skip_special_tokens=True), "ended": new[-1] == 2, "min_top2_gap": round(gap, 4), "near_tie_weight": float(f"{risk:.2e}"),
                      "first_top5": [[i, round(v, 4)] for i, v in zip(top.indices.tolist(), top.values.tolist())]}
            found.append(entry)
        found.sort(key=lambda e: -e["min_top2_gap"])
        keep += found[:count]
        print(kind, [e["min_top2_gap"] for e in found[:4]], found[0]["near_tie_weight"], found[0]["text"][:80], flush=True)
    sums = random.Random(3).sample(held, 28) + random.Random(3).sample(one_digit, 12)
    ids = complete(model, tok, [f"Sum: {a} + {b} =" for a, b in sums], False, limit=8)
    right = sum(decode(tok, i).strip() == str(a + b) for i, (a, b) in zip(ids, sums))
    doc = {"made_with": "transformers MixtralForCausalLM.generate(do_sample=False), the bfloat16 checkpoint in float32 on a CPU. greedy_ids end with 2 (</s>) where ended is true. "
           "min_top2_gap is the smallest difference of the two best logits over the steps. near_tie_weight is the largest weight of a second expert whose router logit is within 0.001 of the third's: what a swap of the two could change.",
           "cases": keep, "held_out_sums": [[a, b, a + b] for a, b in sums], "held_out_sums_right": right}
    text = json.dumps(doc, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text)
    open(out + "/expected.json", "w").write(text + "\n")
    print(len(keep), "cases | sums right", right, "of 40")


# ---------------------------------------------------------------- everything


def rate(xs):
    xs = list(xs)
    return round(sum(map(bool, xs)) / max(1, len(xs)), 4)


PARTS = "sums,perplexity,experts,stories,texts"


def main(a):
    if a.expected_only:
        return expected(a.model, a.out)
    if a.experts_only:
        rng = random.Random("evaluation")
        docs = {k: [data.BOS + data.plain(rng, k) + data.EOS for _ in range(60)] for k in data.KINDS}
        model, tok = load(a.model, "cuda" if torch.cuda.is_available() else "cpu")
        r = experts(model, tok, docs)
        print({k: round(perplexity(model, tok, d), 3) for k, d in docs.items()})
        for l, (mi, mw) in enumerate(zip(r["normalised_mi"], r["normalised_mi_class"])):
            print(f"layer {l}: kind {mi}, word class {mw}", {k: [round(v) for v in s] for k, s in zip(r["kinds"], r["share_by_kind"][l])})
        return None
    os.makedirs(a.out, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "stories" in a.parts:
        print("reading the training stories again ...", flush=True)
        lexicon, caps, known, sents, texts, called = reference(a.chunks, a.workers)
        print(len(lexicon), "words,", len(known), "sentence forms,", len(sents), "sentences,", len(texts), "stories,", len(called), "names", flush=True)
    while a.wait and not os.path.exists(a.wait):
        time.sleep(0.2)
    model, tok = load(a.model, device)
    result, n, rng, samples = {}, a.samples, random.Random("evaluation"), {}
    if a.parts != PARTS and os.path.exists(a.out + "/evaluation.json"):
        result = json.load(open(a.out + "/evaluation.json"))

    # sums, greedy, both orders of every held-out pair, and all sums of two one-digit numbers, trained or not
    held = data.sum_split()[1]
    both = [p for x, y in held for p in sorted({(x, y), (y, x)})]
    both = both if a.samples >= 100 else both[:60]
    small = [(x, y) for x in range(10) for y in range(10)]
    for name, make in (("plain", lambda x, y: f"Sum: {x} + {y} ="), ("chat", lambda x, y: chat_ids(tok, f"What is {x} + {y}?"))) if "sums" in a.parts else ():
        got = [decode(tok, i).split("=")[-1].strip() for i in complete(model, tok, [make(*p) for p in both + small], False, limit=24)]
        ok = [g == str(x + y) for g, (x, y) in zip(got, both + small)]
        digits = lambda k: [o for o, p in zip(ok, both) if sum(v > 9 for v in p) == k]
        result["sums_" + name] = {"held_out": len(both), "right": rate(ok[:len(both)]), "two_digit": len(digits(2)), "two_digit_right": rate(digits(2)), "one_and_two_digit": len(digits(1)),
                                  "one_and_two_digit_right": rate(digits(1)), "one_digit": len(digits(0)), "one_digit_right": rate(digits(0)), "all_one_digit": len(small), "all_one_digit_right": rate(ok[len(both):]),
                                  "wrong": sorted({f"{x} + {y} = {g}" for g, o, (x, y) in zip(got, ok, both + small) if not o})[:12]}
        print(result["sums_" + name], flush=True)

    # held-out texts
    if "perplexity" in a.parts or "experts" in a.parts:
        fresh = {k: [data.BOS + (data.sum_text(*rng.choice(both)) if k == "sum" else data.plain(rng, k)) + data.EOS for _ in range(max(20, n // 2))] for k in data.KINDS}
    if "perplexity" in a.parts:
        result["perplexity"] = {k: round(perplexity(model, tok, d), 3) for k, d in fresh.items()}
        print(result["perplexity"], flush=True)
    if "experts" in a.parts:
        result["experts"] = experts(model, tok, {k: d[:200] for k, d in fresh.items()})
        print("normalised MI of kind and expert by layer", result["experts"]["normalised_mi"], "of word class", result["experts"]["normalised_mi_class"], "kind from use", result["experts"]["kind_from_expert_use"],
              "second weight", result["experts"]["second_weight_by_kind"], flush=True)

    # stories
    if "stories" in a.parts:
        names = data.GIRLS + data.BOYS

        def new_name():
            """A name that no training story has: half of them real, half invented."""
            name = rng.choice(data.HELD_OUT_NAMES) if rng.random() < 0.5 else data.invented_name(rng)
            return new_name() if name in called else name

        start = lambda k, x: data.expand("Once upon a time, a~ {a} {k} named {n}", {"a": rng.choice(data.ADJ), "k": k, "n": x}, rng)
        asked = {"chat": [(rng.choice(data.ANIMALS), rng.choice(names)) for _ in range(n // 2)],
                 "chat_unseen": [(rng.choice(data.ANIMALS), new_name()) for _ in range(n // 2)],
                 "chat_unseen_animal": [(rng.choice(data.HELD_OUT_ANIMALS), new_name()) for _ in range(n // 2)]}
        prompts = {"free": ["Once upon a time"] * n, "started": [start(rng.choice(data.ANIMALS), rng.choice(names)) for _ in range(n)],
                   "unseen": [start(rng.choice(data.ANIMALS), new_name()) for _ in range(n)]}
        prompts |= {what: [chat_ids(tok, data.expand(f"Tell me a story about a~ {k} named {x}.", {}, rng)) for k, x in who] for what, who in asked.items()}
        done = iter(complete(model, tok, [p for ps in prompts.values() for p in ps], True))
        stories = {what: [((p if isinstance(p, str) else "") + decode(tok, i), -1 not in i) for p, i in zip(ps, done)] for what, ps in prompts.items()}
        result["chat_story_has_the_character"] = {what: rate(re.search(rf"\b{k}\b.*\b{x}\b|\b{x} the {k}\b", t[:160]) for (k, x), (t, _) in zip(who, stories[what])) for what, who in asked.items()}
        print(result["chat_story_has_the_character"], flush=True)
        judge_all(result, stories, n, rng, lexicon, caps, known, sents, texts)
        samples |= {what: [t for t, _ in stories[what][:25]] for what in stories if what != "grammar"}

    # weather and recipes
    if "texts" in a.parts:
        towns, dishes = [rng.choice(data.TOWNS) for _ in range(n // 2)], [data.recipe(rng)[1]["name"] for _ in range(n // 2)]
        for kind, judge, plain, chat in (("weather", judge_weather, [f"Weather report for {t}:" for t in towns], [f"What is the weather in {t}?" for t in towns]),
                                         ("recipe", judge_recipe, [f"Recipe for {d}:" for d in dishes], [f"Give me a recipe for {d}." for d in dishes])):
            done = [decode(tok, i) for i in complete(model, tok, plain + [chat_ids(tok, q) for q in chat], True)]
            ts, cs = [p + t for p, t in zip(plain, done)], done[len(plain):]
            ref = [data.plain(rng, kind) for _ in range(n)]
            result[kind] = {"count": len(ts), "consistent": rate(judge(t) for t in ts), "chat_consistent": rate(judge(t) for t in cs), "chat_on_topic": rate(c.startswith(p) for c, p in zip(cs, plain)),
                            "grammar_itself": rate(judge(t) for t in ref), "faults": [t for t in ts if not judge(t)][:5], "grammar_faults": [t for t in ref if not judge(t)][:3]}
            print(kind, {k: v for k, v in result[kind].items() if "faults" not in k}, flush=True)
            samples[kind] = ts[:6] + cs[:3]
    json.dump(result, open(a.out + "/evaluation-full.json", "w"), indent=1)
    short = {k: {x: y for x, y in v.items() if x not in ("faults", "unknown_forms", "grammar_faults")} if isinstance(v, dict) else v for k, v in result.items()}
    text = json.dumps(short, indent=1)
    text = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: "[" + re.sub(r"\s+", " ", m.group(1)) + "]", text)
    open(a.out + "/evaluation.json", "w").write(text + "\n")
    if samples:
        with open(a.out + "/samples.txt", "w") as f:
            f.write("".join(f"== {what}\n\n" + "\n\n".join(ts) + "\n\n" for what, ts in samples.items()))


def judge_all(result, stories, n, rng, lexicon, caps, known, sents, texts):
    stories["grammar"] = [(data.story(rng)[0], True) for _ in range(n)]  # fresh texts of the grammar: what a perfect model would score
    for what, ts in stories.items():
        js = [judge_story(t, lexicon, caps, known) for t, _ in ts]
        flat = [f for j in js for f in j["forms"]]
        ss = [s for t, _ in ts for s in _SENT.split(t)]
        lengths = sorted(len(t.split()) for t, _ in ts)
        result["stories_" + what] = {
            "count": len(ts), "ended": rate(e for _, e in ts), "words_median": lengths[len(lengths) // 2], "words_5_95": [lengths[len(lengths) // 20], lengths[-len(lengths) // 20]],
            **{k: rate(j[k] for j in js) for k in ("names_introduced", "name_kept", "kind_kept", "consistent", "words")},
            "pronouns": rate(j["pronouns"] for j in js if "pronouns" in j), "pronouns_checked": sum("pronouns" in j for j in js),
            "object_found_is_object_lost": rate(j["object"] for j in js if "object" in j), "objects_checked": sum("object" in j for j in js),
            "sentences_of_a_known_form": rate(flat), "stories_all_known_forms": rate(all(j["forms"]) for j in js),
            "whole_story_in_training": rate(hash(t) in texts for t, _ in ts), "sentences_in_training": rate(hash(s) in sents for s in ss),
            "distinct": len({t for t, _ in ts}), "faults": [t for (t, _), j in zip(ts, js) if not j["consistent"]][:4], "unknown_forms": [u for j in js for u in j["unknown"]][:12]}
        print(what, {k: v for k, v in result["stories_" + what].items() if k not in ("faults", "unknown_forms")}, flush=True)


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--model", default=".")
    p.add_argument("--out", default=".")
    p.add_argument("--samples", type=int, default=500)
    p.add_argument("--chunks", type=int, default=train.CHUNKS["story"], help="chunks of training stories to compare with")
    p.add_argument("--parts", default=PARTS, help="what to measure; with fewer parts the others stay as evaluation.json has them")
    p.add_argument("--wait", help="a file to wait for before the model is read")
    p.add_argument("--workers", type=int, default=os.cpu_count())
    p.add_argument("--expected-only", action="store_true")
    p.add_argument("--experts-only", action="store_true")
    main(p.parse_args())
