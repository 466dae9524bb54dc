"""The models of a service: pinned when it is sealed, found again when it is loaded.

A bundle requires its models by content. Their references may be deleted or may never have existed
in this store (an imported bundle brings only the content); a pinned model is found all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dosirak import models
from dosirak.bundles.manifest import BundleManifest, ModelPin
from dosirak.bundles.report import BuildEvent, Report
from dosirak.errors import Conflict, CorruptContent, ModelNotFound, NotFound
from dosirak.models import Model
from dosirak.naming import Reference
from dosirak.spec.dependencies import models_needed
from dosirak.spec.service_spec import ServiceSpec
from dosirak.store import Entry, Store


def models_of(spec: ServiceSpec, *, store: Store) -> dict[str, Model]:
    """Return the model that each attribute of a service, and of what it depends on, needs.

    They are named as in `spec.dependencies.models_needed`.

    Raises:
        ModelNotFound: one is not in the store; the message says where the service asks for it.
    """
    return {
        requirement.attribute: _found(requirement.reference, requirement.attribute, store)
        for requirement in models_needed(spec)
    }


def extra_models(references: Iterable[str], *, store: Store) -> tuple[Model, ...]:
    """Return the models that a project's configuration adds.

    Raises:
        ModelNotFound: one is not in the store.
    """
    return tuple(_found(Reference.parse(text), "", store) for text in references)


def pins_of(attributes: Mapping[str, Model], extra: Iterable[Model]) -> tuple[ModelPin, ...]:
    """Pin models to their exact content, ordered so that equal input gives equal pins."""
    named = [_pin(attribute, model) for attribute, model in attributes.items()]
    known = {pin.digest for pin in named}
    added = {model.id: _pin("", model) for model in extra if model.id not in known}
    return tuple(
        sorted((*named, *added.values()), key=lambda pin: (pin.attribute, pin.name, pin.version))
    )


def replay_examples(found: Iterable[Model], report: Report) -> None:
    """Have each model answer its golden examples again, in the environment being sealed.

    Raises:
        Conflict: a model answers otherwise than when it was saved.
    """
    for model in {model.id: model for model in found}.values():
        if not model.examples:
            continue
        report(BuildEvent("step", f"Replaying the golden examples of {model.reference}."))
        # What is sealed is vouched for by whoever seals it: this very content, and no other.
        problems = models.replay(model)
        if problems:
            raise Conflict(
                f"{model.reference} no longer answers its golden examples: {problems[0]}.",
                remedy="Restore the libraries it was saved with, or save the model again.",
            )


def pinned_model(pin: ModelPin, *, bundle: Entry, store: Store) -> Model:
    """Return the model of a pin, whether or not its reference exists here.

    Its origin is its own where the very content was saved here, else that of the bundle: an
    imported bundle's models were imported with it.
    """
    try:
        entry = store.resolve("models", pin.reference)
    except (NotFound, CorruptContent):
        entry = None
    if entry is None or entry.digest != pin.digest or entry.version != pin.version:
        entry = Entry(
            kind="models",
            reference=pin.reference,
            digest=pin.digest,
            created_at_ns=bundle.created_at_ns,
            origin=bundle.origin,
        )
    return Model(store, entry)


def pinned_models(manifest: BundleManifest, *, bundle: Entry, store: Store) -> dict[str, Model]:
    """Return the model of each attribute."""
    return {
        pin.attribute: pinned_model(pin, bundle=bundle, store=store)
        for pin in manifest.models
        if pin.attribute
    }


def _found(reference: Reference, attribute: str, store: Store) -> Model:
    try:
        return models.get(str(reference), store=store)
    except ModelNotFound as error:
        place = f" (as {attribute!r})" if attribute else ""
        raise ModelNotFound(
            f"The service needs the model {reference}{place}, which is not in the store.",
            remedy=error.remedy or f"Save it first: dosirak.models.save({reference.name!r}, …).",
        ) from error


def _pin(attribute: str, model: Model) -> ModelPin:
    return ModelPin(
        attribute=attribute,
        name=model.name,
        version=model.version,
        digest=model.id,
        framework=model.framework,
    )
