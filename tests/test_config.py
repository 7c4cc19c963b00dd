from __future__ import annotations

import pytest
import yaml

from saree_vae import config
from saree_vae.errors import SareeError

PACKAGED = sorted(path.stem for path in config.config_folder().glob("*.yaml"))


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_config_loads_and_says_only_what_differs(name):
    resolved = config.load(name).model_dump()
    plain = config.Config().model_dump()
    written = yaml.safe_load((config.config_folder() / f"{name}.yaml").read_text())
    for section, values in written.items():
        for key, value in values.items():
            assert resolved[section][key] == value
            assert value != plain[section][key]


def test_the_five_configs_are_packaged():
    assert set(PACKAGED) >= {"tiny", "quickstart", "textiles", "gpu", "pretrained"}


def test_an_override_wins_over_the_file_and_exponents_are_numbers(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("train:\n  learning_rate: 1e-4\n  epochs: 7\n")
    loaded = config.load(file, ["train.epochs=3"])
    assert loaded.train.epochs == 3
    assert loaded.train.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model:\n  latent_dims: 3", "'latent_dims' is not a setting"),
        ("model:\n  motif_dims: 3", "did you mean 'motif_dim'?"),
        ("modle: {}", "did you mean 'model'?"),
        ("train:\n  epochs: many", "'epochs' is 'many'"),
        ("model:\n  image_size: 100", "expected one of 64, 96"),
        ("model:\n  encoder: resnet", "timm:NAME"),
        ("model:\n  likelihood: cauchy", "'gaussian'"),
        ("- a\n- b", "expected sections"),
        ("model: [", "not readable as YAML"),
    ],
)
def test_a_mistake_is_named_with_the_file_and_what_was_expected(tmp_path, text, told):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SareeError, match="mine.yaml") as error:
        config.load(file)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


GREY = "model.encoder=mlp model.image_size=28 model.channels=1 model.colour_dim=0"
APART = "objective.swap=0 objective.contrast_colour=0"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("model.image_size=28", "image_size is 28; expected one of 64"),
        ("model.image_size=256 model.encoder=mlp", "with encoder 'mlp' 4 to 128"),
        ("model.channels=1 model.colour_dim=0", "channels 1 needs encoder 'mlp'"),
        ("model.channels=1 model.encoder=mlp model.image_size=28", "so it needs colour_dim 0"),
        ("model.colour_dim=1", "colour_dim 1 is too few"),
        ("model.pretrained=true", "pretrained needs a timm encoder, not 'conv'"),
        ("model.binary=true", "binary needs likelihood 'bernoulli'"),
        ("model.posterior=vq model.encoder=mlp model.image_size=28", "posterior 'vq' needs an encoder that keeps maps"),
        ("model.posterior=vq model.levels=2", "set levels to 1"),
        *((f"model.prior=vamp model.posterior={q}", f"not '{q}'") for q in ("full", "iaf", "point", "vq")),
        *((f"model.prior=mixture model.posterior={q}", "set prior to 'normal'") for q in ("point", "vq")),
        ("model.colour_dim=0", "so set objective.swap and objective.contrast_colour to 0"),
        ("model.colour_dim=0 objective.swap=0", "so set objective.contrast_colour to 0"),
        (f"{GREY} {APART}", "set objective.contrast_motif to 0"),
        *((f"objective.samples=2 model.posterior={q}", "objective.samples needs a density") for q in ("point", "vq")),
        ("objective.samples=2", "set model.sigma to learned or to a number"),
        *(
            (f"objective.total_correlation=1 model.{other}", "objective.total_correlation needs posterior 'gaussian'")
            for other in ("posterior=full", "posterior=iaf", "posterior=point", "posterior=vq", "prior=mixture")
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_a_sentence_naming_them(settings, told):
    with pytest.raises(SareeError, match=r"^tiny.yaml") as error:
        config.load("tiny", settings.split())
    assert told in str(error.value)
    assert "\n" not in str(error.value) and "Value error" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        f"{GREY} {APART} objective.contrast_motif=0",
        f"model.posterior=vq model.colour_dim=0 {APART}",
        "model.posterior=iaf model.prior=mixture objective.samples=5 model.sigma=0.1",
        "model.prior=vamp model.levels=5",
        "model.binary=true model.likelihood=bernoulli",
    ],
)
def test_settings_that_go_together_are_taken(settings):
    config.load("tiny", settings.split())


@pytest.mark.parametrize("override", ["epochs=3", "train.epochs", "train.epoch=3"])
def test_a_wrong_override_is_refused(override):
    with pytest.raises(SareeError):
        config.load("tiny", [override])


def test_an_unknown_config_offers_the_packaged_ones():
    with pytest.raises(SareeError, match="textiles"):
        config.load("sarees")


def test_a_resolved_config_reads_back_as_itself(tmp_path):
    resolved = config.load("quickstart", ["model.motif_dim=12"])
    file = tmp_path / "config.yaml"
    file.write_text(config.save_text(resolved))
    assert config.load(file) == resolved
