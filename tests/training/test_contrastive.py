"""wav2vec 2.0's own objective: what is told from what, and what the model's own class computes of the same."""

from pathlib import Path

import pytest
import torch
from conftest import write_base
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from asr_adapt.errors import InputError
from asr_adapt.model import base as base_model
from asr_adapt.recipe import Model
from asr_adapt.training import contrastive
from asr_adapt.training.contrastive import Contrast


def test_no_frame_is_told_from_itself() -> None:
    others = contrastive._others(7, 500, torch.Generator().manual_seed(0))
    assert others.shape == (7, 500) and not (others == torch.arange(7)[:, None]).any()
    assert all(set(row.tolist()) == set(range(7)) - {number} for number, row in enumerate(others))


def test_a_wrong_target_that_equals_the_true_one_does_not_count() -> None:
    quantised = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    others = torch.tensor([[1, 2], [0, 2], [1, 0]])
    logits = contrastive.contrasts(quantised, quantised, others, temperature=0.1)
    assert torch.allclose(logits[:, 0], torch.tensor(10.0))
    assert logits[0].tolist() == pytest.approx([10.0, 0.0, -torch.inf])
    assert logits[2].tolist() == pytest.approx([10.0, 0.0, -torch.inf])


def test_the_loss_is_that_of_transformers() -> None:
    """The same weights, masks and wrong targets in `Wav2Vec2ForPreTraining`, whose loss is a sum."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, codevector_dim=16,
        proj_codevector_dim=16, num_codevectors_per_group=8, conv_dim=(32,) * 7, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4, num_negatives=5, hidden_dropout=0.0, attention_dropout=0.0,
        feat_quantizer_dropout=0.0, feat_proj_dropout=0.0, layerdrop=0.0,
    )  # fmt: skip
    whole = Wav2Vec2ForPreTraining(config).eval()
    waveform = torch.randn(1, 16_000)
    masked = torch.zeros(1, 49, dtype=torch.bool)
    masked[0, 10:20] = True
    drawn = contrastive._others(10, 5, torch.Generator().manual_seed(1))
    negatives = torch.zeros(1, 49, 5, dtype=torch.long)
    negatives[0, 10:20] = drawn + 10
    with torch.no_grad():
        wanted = whole(waveform, mask_time_indices=masked, sampled_negative_indices=negatives)
        outputs = whole.wav2vec2(waveform, mask_time_indices=masked)
        quantised = whole.project_q(whole.quantizer(outputs.extract_features)[0])[0, 10:20]
        logits = contrastive.contrasts(
            whole.project_hid(outputs.last_hidden_state)[0, 10:20],
            quantised,
            drawn,
            config.contrastive_logits_temperature,
        )
        loss = torch.nn.functional.cross_entropy(logits, torch.zeros(10, dtype=torch.long), reduction="sum")
    assert float(loss) == pytest.approx(float(wanted.contrastive_loss), rel=1e-5)


def test_the_base_models_own_codebook_is_taken_where_it_has_one(tmp_path: Path) -> None:
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, codevector_dim=16,
        proj_codevector_dim=16, num_codevectors_per_group=8, conv_dim=(32,) * 7,
    )  # fmt: skip
    whole = Wav2Vec2ForPreTraining(config)
    whole.save_pretrained(tmp_path / "whole")
    own, is_own = Contrast.of_base(Model(base=str(tmp_path / "whole")), config)
    assert is_own and torch.equal(own.quantizer.codevectors, whole.quantizer.codevectors)
    write_base(tmp_path / "tuned", "layer")
    spec = Model(base=str(tmp_path / "tuned"))
    _, is_own = Contrast.of_base(spec, base_model.configuration(spec))
    assert not is_own


def test_other_types_of_base_model_are_refused() -> None:
    from transformers import HubertConfig

    with pytest.raises(InputError, match=r"^train\.pretrain_steps: 'x' is of type hubert, which is pre-trained in"):
        contrastive.check(HubertConfig(), "x")
