"""Exports a BERT model folder to ONNX in the layout of transformers.js: fp32, q8, and q8 with per-channel weights.

Usage: python tests/bench/export_onnx.py MODEL_DIR OUTPUT_DIR
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModel

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class LastHiddenState(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        # In the form in which it is added to the scores: the model's own code for this step does not trace cleanly.
        mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        return self.model(input_ids, attention_mask=mask, token_type_ids=token_type_ids).last_hidden_state


def export(model_dir, path):
    # Eager attention, because the tracing exporter has no operator for the fused one.
    model = AutoModel.from_pretrained(model_dir, attn_implementation="eager", add_pooling_layer=False).eval()
    # A padded batch, so that nothing of the mask is folded into constants.
    ids = torch.tensor([[101, 7592, 2088, 102], [101, 7592, 102, 0]])
    example = (ids, (ids != 0).long(), torch.zeros_like(ids))
    axes = {name: {0: "batch_size", 1: "sequence_length"} for name in [*INPUTS, "last_hidden_state"]}
    torch.onnx.export(
        LastHiddenState(model),
        example,
        path,
        input_names=INPUTS,
        output_names=["last_hidden_state"],
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


def quantize(path, quantized, per_channel):
    # What the conversion script of transformers.js does for a model without convolutions.
    quantize_dynamic(
        path,
        quantized,
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
        extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
    )


def main(model_dir, output_dir):
    # Renamed when it is whole, so that an interrupted run is done again.
    partial = output_dir.with_name(f"{output_dir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    onnx = partial / "onnx"
    onnx.mkdir(parents=True)
    for name in ["config.json", "tokenizer.json"]:
        shutil.copy(model_dir / name, partial)
    # transformers.js does not read sentence_bert_config.json, so its limit goes where it does look: both engines
    # then cut long texts at the same token.
    tokenizer = json.loads((model_dir / "tokenizer_config.json").read_text())
    limit = json.loads((model_dir / "sentence_bert_config.json").read_text())["max_seq_length"]
    (partial / "tokenizer_config.json").write_text(json.dumps({**tokenizer, "model_max_length": limit}))

    export(model_dir, onnx / "model.onnx")
    quantize(onnx / "model.onnx", onnx / "model_quantized.onnx", per_channel=False)
    quantize(onnx / "model.onnx", onnx / "per_channel_quantized.onnx", per_channel=True)
    shutil.rmtree(output_dir, ignore_errors=True)
    partial.rename(output_dir)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
