"""Small untrained checkpoints of every type of encoder."""

from pathlib import Path

import torch
import transformers
from transformers import PreTrainedConfig

from asr_adapt.model import encoders

_BODY = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 32,
}
# A filterbank of 15 ms every 10 ms, then two that halve its rate: as in the small model that is trained from nothing.
_CONVOLUTIONS = {
    "conv_dim": (64, 64, 64),
    "conv_kernel": (240, 3, 3),
    "conv_stride": (160, 2, 2),
    "conv_bias": True,
    "num_conv_pos_embedding_groups": 4,
}
_POSITION = {"num_conv_pos_embeddings": 16}
_GROUP = {"feat_extract_norm": "group"}
_LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}

CONFIGURATIONS: dict[str, PreTrainedConfig] = {
    "wav2vec2": transformers.Wav2Vec2Config(**_BODY, **_CONVOLUTIONS, **_POSITION, **_LAYER),
    # As mHuBERT-147's.
    "hubert": transformers.HubertConfig(
        **_BODY, **_CONVOLUTIONS, **_POSITION, **_GROUP, conv_pos_batch_norm=True, feat_proj_layer_norm=False
    ),
    "wavlm": transformers.WavLMConfig(
        **_BODY, **_CONVOLUTIONS, **_POSITION, **_GROUP, num_buckets=32, max_bucket_distance=80
    ),
    "data2vec-audio": transformers.Data2VecAudioConfig(**_BODY, **_CONVOLUTIONS, conv_pos_kernel_size=7),
    "unispeech": transformers.UniSpeechConfig(**_BODY, **_CONVOLUTIONS, **_POSITION, **_GROUP),
    "unispeech-sat": transformers.UniSpeechSatConfig(**_BODY, **_CONVOLUTIONS, **_POSITION, **_LAYER),
    "wav2vec2-conformer": transformers.Wav2Vec2ConformerConfig(
        **_BODY, **_CONVOLUTIONS, **_POSITION, feat_extract_norm="layer"
    ),
    # As w2v-BERT 2.0's, which has no head: no vocabulary.
    "wav2vec2-bert": transformers.Wav2Vec2BertConfig(**_BODY | {"vocab_size": None}),
}
"""by `model_type`: one of each"""

VARIANTS: dict[str, PreTrainedConfig] = CONFIGURATIONS | {
    "hubert, pre-norm": transformers.HubertConfig(**_BODY, **_CONVOLUTIONS, **_POSITION, **_LAYER),
    "wavlm, pre-norm": transformers.WavLMConfig(**_BODY, **_CONVOLUTIONS, **_POSITION, **_LAYER),
    "wav2vec2-conformer, rotary": transformers.Wav2Vec2ConformerConfig(
        **_BODY, **_CONVOLUTIONS, **_POSITION, **_GROUP, position_embeddings_type="rotary"
    ),
    "wav2vec2-bert, relative": transformers.Wav2Vec2BertConfig(**_BODY, position_embeddings_type="relative"),
    "wav2vec2-bert, rotary": transformers.Wav2Vec2BertConfig(**_BODY, position_embeddings_type="rotary"),
}
"""those, and others that are computed in another way"""


def write(folder: Path, config: PreTrainedConfig) -> Path:
    """Write a checkpoint with random weights, and batch norms that have seen something."""
    torch.manual_seed(0)
    kind = encoders.kind(config)
    if config.vocab_size is None:
        net = transformers.AutoModel.from_config(config)
    else:
        net = encoders.net_class(config)(config)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.bias, std=0.3)
    net.save_pretrained(folder)
    kind.extractor().save_pretrained(folder)
    return folder
