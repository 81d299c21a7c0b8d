"""A run as steps, from the trained model to the entropy tables: what depends on what. Nothing is computed here.

float -> rewritten -> dead -> channels -> pruned -> qat -> int8 -> rd -> tables -> decoder
                      (those up to qat, rd and the last one, only where the recipe asks for it)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from edgepress.runtime.manifest import smoothable
from edgepress.runtime.tables import EntropyTables
from edgepress.train.quiet import import_tensorflow_quietly

from .cache import Cache
from .convert import FloatPair
from .errors import RecipeError
from .fit_networks import fit_networks
from .fit_tables import quality_steps
from .keys import Images
from .made import FLOATS, INT8, MODEL, TABLES, TRAINED, Int8, Made, Trained
from .recipe import Recipe
from .source import Source
from .step import FIGURES, Step

# Called when something begins, with its name and the number of steps (None: unknown); gives what counts them.
Begin = Callable[[str, int | None], Callable[[int], None]]
# Makes the model of a stage: from the module `work`, the model before, and what counts the steps.
Make = Callable[[Any, Made, Callable[[int], None]], Made]

_CONVERTER = ("convert", "_convert_worker", "split")


def quiet(_text: str, _steps: int | None) -> Callable[[int], None]:
    """The `Begin` that says nothing."""
    return lambda _count: None


class Plan:
    """The steps that turn `source` into networks and tables; `images` serve for fine-tuning, calibration and tables.

    Attributes:
        models: Keras models by name of the stage, in order, from float on.
        cut: the model whose channels were cut and not yet fine-tuned; None when none are.
        floats: the models as float32 TFLite.
        qat: the last model trained under simulated int8; None in other modes.
        as_it_came: operations that XNNPACK does not run, by type, of the first model as int8 without any rewrite.
        compared: the last model as float16, dynamic and int16x8.
        int8: the networks of the package, after all training that the recipe asks for.
        tables: its entropy tables, fitted to the same encoder, before the training of the decoder alone.
    """

    def __init__(self, source: Source, images: Images, recipe: Recipe, cache: Cache, begin: Begin = quiet):
        self._images, self._recipe, self._cache, self._begin = images, recipe, cache, begin
        loaded, inputs = ("load", "split"), [source.key, images, recipe.model]
        self.models = {"float": Step(cache, "float", MODEL, loaded, inputs, self._load(source))}
        self._add(
            "rewritten",
            ("rewrite",),
            [recipe.channels.joined],
            lambda work, made, _: work.rewrite(made, self.layer(), images, recipe.channels.joined),
        )
        if recipe.channels.dead:
            self._add(
                "dead",
                ("dead_channels",),
                [],
                lambda work, made, _: work.remove_dead(made, self.latent, images),
                "remove dead channels",
            )
        self.cut = self._channels() if recipe.channels.keep_macs < 1 else None
        if recipe.prune.steps:
            self._add(
                "pruned",
                ("prune",),
                [recipe.prune, recipe.loss],
                lambda work, made, count: work.prune(
                    made, self.latent, images, recipe.prune, recipe.loss, count
                ),
                "prune and fine-tune",
                recipe.prune.steps,
            )
        self.floats = Step(cache, "floats", FLOATS, _CONVERTER, list(self.models.items()), self._floats)
        quantize = recipe.quantize
        modules = (
            *_CONVERTER,
            "latent_range",
            "join_branches",
            "compose",
            "merge_spaces",
            "mix_channels",
            "reorder_sums",
            "equalize",
            "round_weights",
            "weight_levels",
            "layer_noise",
        )
        self.qat = self._train() if quantize.mode == "qat" else None
        settings = [
            quantize.mode,
            quantize.latent_unit,
            quantize.weight_noise,
            quantize.compose,
            quantize.fallback if quantize.mode == "mixed" else 0,
        ]
        quantized = [self.qat or self._last, images, settings]
        inputs = [self.models["float"], images]
        self.as_it_came = Step(
            cache, "as-it-came", FIGURES, (*_CONVERTER, "measure"), inputs, self._as_it_came
        )
        inputs = [self._last, images]
        self.compared = Step(cache, "compared", FLOATS, _CONVERTER, inputs, self._compared)
        self.int8 = Step(cache, "int8", INT8, modules, quantized, self._int8)
        trained = quantize.mode != "qat"
        if recipe.rd.steps and trained:
            ends = recipe.codec.finest, recipe.codec.coarsest
            says = "train both networks for rate and distortion"
            self.int8 = self._tuned("rd", "tune_both", says, ends, lambda: quality_steps(*ends))
        fitted = [self.int8, images, replace(recipe.codec, smoothing=0)]  # decoding alone knows of that
        self.tables = Step(cache, "tables", TABLES, ("fit_networks",), fitted, self._fitted(self.int8))
        if recipe.decoder.steps and trained:
            says = "train the decoder behind the quantizer"
            self.int8 = self._tuned("decoder", "tune_decoder", says, self.tables, self.tables.get)

    @property
    def latent(self) -> dict[str, Any]:
        """The latent's layer, stride, channels, unit ..., see `split.Latent`.

        Raises: RecipeError when the recipe asks for smoothing that such a latent cannot have.
        """
        found: dict[str, Any] = self.models["float"].get().facts["latent"]
        if self._recipe.codec.smoothing and not smoothable(found["stride"], found["tile"]):
            raise RecipeError(
                f"codec.smoothing is for latents at 1/16 or a multiple of it, of networks that take any size, not at "
                f"1/{found['stride']}{' of one size' if found['tile'] else ''}: set it to 0"
            )
        return found

    def layer(self) -> str:
        """The layer whose output is coded."""
        return self.latent["layer"]

    @property
    def _last(self) -> Step[Made]:
        return list(self.models.values())[-1]

    def _add(
        self,
        name: str,
        modules: tuple[str, ...],
        settings: list[Any],
        make: Make,
        says: str = "",
        steps: int | None = None,
    ) -> Step[Made]:
        """One more stage, on the last one and the images."""
        before = self._last

        def made() -> Made:
            source = before.get()
            return make(_work(), source, self._begin(says or name, steps))

        step = Step(self._cache, name, MODEL, modules, [before, self._images, settings], made)
        self.models[name] = step
        return step

    def _channels(self) -> Step[Made]:
        """Two stages, of which the models keep the second: the cut alone is what a search estimates with."""
        whole, images, channels, loss = self._last, self._images, self._recipe.channels, self._recipe.loss
        cut = self._add(
            "cut",
            ("channel_prune",),
            [channels.keep_macs, channels.criterion, channels.group, loss],
            lambda work, made, _: work.cut_channels(made, self.latent, images, channels, loss),
            f"remove channels, {channels.keep_macs:.0%} of the multiply-adds stay",
        )
        if channels.steps:
            self._add(
                "channels",
                ("distill",),
                [whole, channels, loss],
                lambda work, made, count: work.distill(
                    made, whole.get(), self.latent, images, channels, loss, count
                ),
                "fine-tune by distillation",
                channels.steps,
            )
            del self.models["cut"]
        else:
            self.models["channels"] = self.models.pop("cut")
        return cut

    def _train(self) -> Step[Trained]:
        source, recipe = self._last, self._recipe

        def train() -> Trained:
            made, layer = source.get(), self.layer()
            count = self._begin("quantization-aware training", recipe.quantize.qat_steps)
            return _work().train_qat(made, layer, self._images, recipe, count)

        crops = [recipe.channels.batch, recipe.channels.crop, recipe.channels.seed]
        inputs = [source, self._images, recipe.quantize, recipe.loss, crops]
        return Step(self._cache, "qat", TRAINED, ("qat_tfmot", "latent_range", "compose"), inputs, train)

    def _load(self, source: Source) -> Callable[[], Made]:
        def load() -> Made:
            self._begin("load the model, find the latent and split", None)
            return _work().load(source, self._images, self._recipe.model)

        return load

    def _int8(self) -> Int8:
        models = {name: step.get() for name, step in self.models.items()}
        trained = self.qat and self.qat.get()
        self._begin("convert to TFLite", None)
        made = _work("_int8").int8(
            models, trained, self.layer(), self._images, self._recipe.quantize, not self.as_it_came.there()
        )
        self.floats.put(made.floats)
        if made.as_it_came is not None:
            self.as_it_came.put(made.as_it_came)
        return made.int8

    def _floats(self) -> dict[str, FloatPair]:
        models = {name: step.get() for name, step in self.models.items()}
        self._begin("convert to float TFLite", None)
        return _work("_int8").floats(models, self.layer())

    def _as_it_came(self) -> dict[str, int]:
        first = self.models["float"].get()
        self._begin("convert the model as it came", None)
        return _work("_int8").as_it_came(first, self.layer(), self._images)

    def _compared(self) -> dict[str, FloatPair]:
        made = self._last.get()
        self._begin("convert to float16, dynamic-range and int16x8", None)
        return _work("_int8").compared(made, self.layer(), self._images)

    def _fitted(self, networks: Step[Int8]) -> Callable[[], EntropyTables]:
        def fit() -> EntropyTables:
            made, latent = networks.get(), self.latent
            self._begin("fit entropy tables", None)
            return fit_networks(made, self._images, latent, self._recipe.codec)

        return fit

    def _tuned(
        self, part: str, module: str, says: str, depends: Any, quantizer: Callable[[], Any]
    ) -> Step[Int8]:
        """The int8 networks, as they are now, trained on as a part of the recipe says, in a function of its module's name.

        quantizer: what that function wants to know of the codec, made from what it `depends` on.
        """
        networks, settings = self.int8, getattr(self._recipe, part)

        def tune() -> Int8:
            made, known, latent = networks.get(), quantizer(), self.latent
            count = self._begin(says, settings.steps)
            return getattr(_work("_tuned"), module)(made, known, latent, self._images, settings, count)

        inputs = [networks, depends, self._images, settings]
        return Step(self._cache, part, INT8, (*_CONVERTER, module, "round_weights"), inputs, tune)


def _work(what: str = "") -> Any:
    """A module `work*`, imported when there is something to do, since TensorFlow takes seconds."""
    import_tensorflow_quietly()
    return import_module(f".work{what}", __package__)
