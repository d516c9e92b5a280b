"""The model and a lean forward pass over its parameters.

The model is a plain Llama of transformers with q, k and v biases (as Qwen2 has; but for the Qwen2 type AutoTokenizer
puts its own splitting rules in the place of those in tokenizer.json). Its own forward is not used in training: a page's
questions must each see the page but not each other, several pages share a row, and the training
looks at attention weights; all of that is short here, and about twice as fast on a CPU.
"""

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LAYERS, HEADS, WIDTH, INNER = 5, 4, 256, 384
HEAD = WIDTH // HEADS
THETA = 1e8  # of RoPE: with 1e4 only 24 of a head's 64 dimensions turn slowly enough to match far words, now 44
GATHER, MATCH = 2, 3  # layers whose first heads are taught where to look


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            intermediate_size=INNER,
            tie_word_embeddings=True,
            max_position_embeddings=1024,
            attention_bias=True,
            head_dim=HEAD,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": THETA},
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    layers = [layer.self_attn for layer in model.model.layers]
    with torch.no_grad():
        liken_capitals(model.model.embed_tokens.weight, tokenizer)
        for attention in layers:
            attention.o_proj.bias.zero_().requires_grad_(False)  # comes with the other biases in this type; not used
            torch.nn.init.orthogonal_(attention.v_proj.weight)
            torch.nn.init.orthogonal_(attention.o_proj.weight, gain=0.03)
        start_on_previous_tokens(layers[0], (1, 2, 3, None))
        start_on_previous_tokens(layers[1], (1, 2, None, None))
        start_on_equal_content(layers[GATHER], layers[MATCH])
    return model


def liken_capitals(embedding: torch.Tensor, tokenizer: PreTrainedTokenizerFast) -> None:
    """A capitalised word starts near its plain form: sheets write "Pump speed", questions "pump speed"."""
    torch.nn.init.normal_(embedding, std=0.07)
    vocabulary = tokenizer.get_vocab()
    for token, i in vocabulary.items():
        plain = vocabulary.get(token.lower().replace("\u0121", "\u0120"), i)
        if plain != i and len(token) > 2:
            embedding[i] = 0.8 * embedding[plain] + 0.6 * embedding[i]


def start_on_previous_tokens(
    attention: torch.nn.Module, offsets: tuple[int | None, ...], strength: float = 7.0
) -> None:
    """Heads begin by looking a fixed number of tokens back: constant q and k (biases) on the fastest RoPE
    frequencies peak at that distance. Without this help copying did not form within a million tokens."""
    fast = 5
    frequencies = torch.tensor([THETA ** (-2 * i / HEAD) for i in range(fast)])
    for head, offset in enumerate(offsets):
        if offset is not None:
            at = head * HEAD
            attention.k_proj.bias[at : at + fast] = strength
            attention.q_proj.bias[at : at + fast] = strength * torch.cos(offset * frequencies)
            attention.q_proj.bias[at + HEAD // 2 : at + HEAD // 2 + fast] = -strength * torch.sin(offset * frequencies)


def start_on_equal_content(gather: torch.nn.Module, match: torch.nn.Module, strength: float = 1.0) -> None:
    """The first two heads of the match layer begin by comparing what the first two heads of the gather layer
    wrote, at the question and at each fact, in the dimensions that RoPE hardly turns; and the match layer's
    values begin as a copy of the token looked at."""
    slow = [i for i in range(HEAD) if THETA ** (-2 * (i % (HEAD // 2)) / HEAD) < 0.004]
    for head in (0, 1):
        rows = slice(head * HEAD, (head + 1) * HEAD)
        gather.o_proj.weight[:, rows] *= 10
        written = gather.o_proj.weight[:, rows].T / 0.3
        reader = torch.zeros(HEAD, WIDTH)
        reader[slow] = strength * written[slow]
        match.q_proj.weight[rows] = reader
        match.k_proj.weight[rows] = reader
    match.o_proj.weight.copy_(0.1 * match.v_proj.weight.T)


def normed(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    half = HEAD // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


class Lean(torch.nn.Module):
    """ids, page, part, position (all B x T) -> final hidden states; if watched, GATHER's and MATCH's attention too."""

    def __init__(self, model: LlamaForCausalLM):
        super().__init__()
        self.model = model
        frequencies = THETA ** (-torch.arange(0, HEAD, 2).float() / HEAD)
        angles = torch.outer(torch.arange(1024).float(), frequencies)
        angles = torch.cat([angles, angles], -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        # float32 on the CPU: without AMX its matrix products are up to twice as fast as bfloat16's
        self.kind = torch.bfloat16 if next(model.parameters()).is_cuda else torch.float32

    def forward(self, ids, page, part, position, watched: bool = False):
        B, T = ids.shape
        to = self.kind
        seen = (page[:, :, None] == page[:, None, :]) & (
            (part[:, None, :] == 0) | (part[:, :, None] == part[:, None, :])
        )
        seen = seen & torch.ones(T, T, dtype=torch.bool, device=ids.device).tril()
        mask = torch.where(seen, 0.0, -1e9)[:, None]
        cos, sin = self.cos[position][:, :, None], self.sin[position][:, :, None]
        x = F.embedding(ids, self.model.model.embed_tokens.weight)
        kept = []
        for i, layer in enumerate(self.model.model.layers):
            a, mlp = layer.self_attn, layer.mlp
            h = normed(x, layer.input_layernorm.weight).to(to)
            weight = torch.cat([a.q_proj.weight, a.k_proj.weight, a.v_proj.weight]).to(to)
            bias = torch.cat([a.q_proj.bias, a.k_proj.bias, a.v_proj.bias]).to(to)
            q, k, v = F.linear(h, weight, bias).view(B, T, 3, HEADS, HEAD).unbind(2)
            q = (turned(q, cos, sin) * HEAD**-0.5).to(to).transpose(1, 2).reshape(B * HEADS, T, HEAD)
            k = turned(k, cos, sin).to(to).transpose(1, 2).reshape(B * HEADS, T, HEAD)
            v = v.transpose(1, 2).reshape(B * HEADS, T, HEAD)
            scores = torch.bmm(q, k.transpose(1, 2)).view(B, HEADS, T, T).float() + mask
            attention = torch.softmax(scores, -1)
            if watched and i in (GATHER, MATCH):
                kept.append(attention)
            mixed = torch.bmm(attention.to(to).view(B * HEADS, T, T), v)
            x = (
                x
                + F.linear(
                    mixed.view(B, HEADS, T, HEAD).transpose(1, 2).reshape(B, T, WIDTH), a.o_proj.weight.to(to)
                ).float()
            )
            h = normed(x, layer.post_attention_layernorm.weight).to(to)
            both = F.linear(h, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).to(to))
            x = x + F.linear(F.silu(both[..., :INNER]) * both[..., INNER:], mlp.down_proj.weight.to(to)).float()
        return normed(x, self.model.model.norm.weight), *kept
