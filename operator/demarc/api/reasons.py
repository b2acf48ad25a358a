"""Why does a condition say what it says? Every reason, with its meaning and the action to take.

The reference page is made from this file. A member cannot be written without both texts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A documented code: the `reason` of a condition or of a placement.

    Attributes:
        meaning: what is so, as one sentence.
        action: what a person does about it, as one sentence.
    """

    _value_: str
    meaning: str
    action: str

    def __new__(cls, code: str, meaning: str, action: str) -> Self:
        """A member from its three texts."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        member.action = action
        return member


def describe(reason: Reason) -> tuple[str, str]:
    """What a reason means, and what to do about it."""
    return reason.meaning, reason.action


_NOTHING = "Nothing to do."
_WAIT = "Wait; if it lasts, read the operator's log for this object."


class AcceptedReason(Reason):
    """Reasons of the condition `Accepted`: is the object valid?"""

    ACCEPTED = "Accepted", "The object is valid and compiled.", _NOTHING
    ACCEPTED_WITH_WARNINGS = (
        "AcceptedWithWarnings",
        "The object is valid and compiled; more than one thing in it has no effect.",
        "Read the message: it lists every warning.",
    )
    TARGET_NOT_FOUND = (
        "TargetNotFound",
        "The object is valid; it names a ModelDeployment that does not exist: no endpoint.",
        "Create the ModelDeployment, or correct the target's namespace and name.",
    )
    TARGET_NOT_ALLOWED = (
        "TargetNotAllowed",
        "The object is valid; it names a ModelDeployment that does not allow this tenant.",
        "Ask the platform team to add the namespace to allowedTenants, or remove the target.",
    )
    CLIENT_NOT_FOUND = (
        "ClientNotFound",
        (
            "The object is valid; a Secret, a key in it or a ServiceAccount that it names is"
            " missing, so that nobody can call as that client."
        ),
        "Create the Secret or ServiceAccount in the tenant's namespace, or correct the reference.",
    )
    SITE_NOT_FOUND = (
        "SiteNotFound",
        "The object is valid; it names a Site that does not exist.",
        "Create the Site, or correct the name.",
    )
    HOME_NOT_FOUND = (
        "HomeNotFound",
        (
            "The object is valid; no accepted Site is InCluster, so that nobody knows the network"
            " of the gateways and no request can leave."
        ),
        "Create the Site of type InCluster, with the networks of this cluster's pods.",
    )
    REGISTRATION_CONFLICT = (
        "RegistrationConflict",
        (
            "The object is valid; two registrations speak for one app, so that neither counts and"
            " the app has the default floor."
        ),
        "Remove one of the two registrations.",
    )
    REGISTRATION_UNUSED = (
        "RegistrationUnused",
        (
            "The object is valid; a registration speaks for an app or a credential that no"
            " RoutingPolicy declares."
        ),
        "Correct tenant, app or clients of the registration, or remove it.",
    )
    REGISTRATION_EXPIRED = (
        "RegistrationExpired",
        "The object is valid; a registration has ended, so that its app has the default floor.",
        "Review the app and set a new date, or remove the registration.",
    )
    PENDING = ("Pending", "The operator has not looked at this generation yet.", _WAIT)
    INVALID = (
        "Invalid",
        (
            "A field has a value that it cannot have. The last accepted generation, if there is"
            " one, stays in force."
        ),
        "Correct the fields that the message names.",
    )
    NOT_SUPPORTED_YET = (
        "NotSupportedYet",
        "The object uses a part of the API that this version of Demarc does not implement.",
        "Remove the part that the message names, or upgrade.",
    )
    MIXED_CURRENCY = (
        "MixedCurrency",
        "The targets of one model have prices in different currencies, which cannot be compared.",
        "Give all targets of the model prices in one currency.",
    )
    CLIENT_CONFLICT = (
        "ClientConflict",
        "The same credential, or the same app, is declared in another RoutingPolicy too.",
        "Declare each app and each credential in one RoutingPolicy.",
    )
    CHECK_FAILED = (
        "CheckFailed",
        "A check of the policy is broken: its request would reach what it must never reach.",
        "Narrow the permit row that the message names, or correct the check.",
    )
    UNKNOWN_DETECTORS = (
        "UnknownDetectors",
        "The object asks for a detector pack that is not installed.",
        "Correct the name, or upgrade to a version that ships the pack.",
    )
    HOME_CONFLICT = (
        "HomeConflict",
        "More than one Site, or another one than the operator was told, claims to be this cluster.",
        "Keep one Site of type InCluster, with the name that the operator is installed with.",
    )


class ProgrammedReason(Reason):
    """Reasons of the condition `Programmed`: is the accepted generation in force?"""

    PROGRAMMED = "Programmed", "The generation is in force everywhere.", _NOTHING
    PENDING = ("Pending", "The generation is on its way.", _WAIT)
    NOT_ACCEPTED = (
        "NotAccepted",
        "The generation is refused; the last accepted one, if there is one, stays in force.",
        "Repair what the condition Accepted names.",
    )
    PLACEMENT_REJECTED = (
        "PlacementRejected",
        "At least one placement cannot be; the others are applied.",
        "Read status.placements: each has its own reason.",
    )
    APPLY_FAILED = (
        "ApplyFailed",
        "The Kubernetes API refused an object that the placement needs.",
        "Read the message; quotas, admission policies and missing permissions are usual causes.",
    )
    OBJECT_CONFLICT = (
        "ObjectConflict",
        "An object of the same name exists and belongs to somebody else; Demarc leaves it alone.",
        "Rename the ModelDeployment, or remove the object that the message names.",
    )
    AGENTS_BEHIND = (
        "AgentsBehind",
        "At least one live gateway agent does not run an epoch with this generation yet.",
        "Wait; if it lasts, look at the gateway pods that the message names.",
    )
    NO_AGENTS = (
        "NoAgents",
        "No gateway agent reports which epoch it runs.",
        "Start the gateways, or look at their pods.",
    )
    EPOCH_REFUSED = (
        "EpochRefused",
        "The operator cannot sign an epoch: agents run a newer one than it knows of.",
        "Find out why the operator's state is old, then run `demarc epoch recover`.",
    )
    SITE_UNREACHABLE = (
        "SiteUnreachable",
        "The site's Kubernetes API does not answer; what runs there keeps running.",
        "Check the network and the address in the site's kubeconfig.",
    )
    CREDENTIAL_NOT_FOUND = (
        "CredentialNotFound",
        "The Secret with the site's credential, or the key in it, is missing.",
        "Create the Secret in the operator's namespace, or correct the reference.",
    )
    CREDENTIAL_INVALID = (
        "CredentialInvalid",
        "The site's credential cannot be read, or the site refuses it.",
        "Put a valid kubeconfig into the Secret that the Site names.",
    )


class ReadyReason(Reason):
    """Reasons of the condition `Ready`: does it serve?"""

    READY = "Ready", "It serves everywhere it is wanted.", _NOTHING
    PARTLY_READY = (
        "PartlyReady",
        "It serves, but not everywhere it is wanted; the message names where it does.",
        "Read status.placements for the others.",
    )
    NOT_READY = (
        "NotReady",
        "It does not serve.",
        "Read the message and status.placements.",
    )
    NOT_PROGRAMMED = (
        "NotProgrammed",
        "It cannot serve before it is programmed.",
        "Repair what the condition Programmed names.",
    )
    STARTING = (
        "Starting",
        "Pods are starting: images, weights and the first inference take minutes.",
        _WAIT,
    )
    SCALED_TO_ZERO = (
        "ScaledToZero",
        "No replica is wanted.",
        "Set replicas to one or more to serve.",
    )
    UNSCHEDULABLE = (
        "Unschedulable",
        "No node takes the pods: GPUs are in use, or selectors and tolerations do not fit.",
        "Free GPUs, add nodes, or correct the pool of the Site.",
    )
    VOLUME_NOT_FOUND = (
        "VolumeNotFound",
        "The claim or the folder that model.source names is missing.",
        "Create the PersistentVolumeClaim in the deployment's namespace, or correct the path.",
    )
    IMAGE_UNAVAILABLE = (
        "ImageUnavailable",
        "An image cannot be pulled.",
        "Check the image's name, the registry and the pull secret.",
    )
    DIGEST_MISMATCH = (
        "DigestMismatch",
        "The model folder is not the one that model.digest names; the engine is not started.",
        "Find out who changed the folder; then restore it, or review it and state its digest.",
    )
    PRECISION_MISMATCH = (
        "PrecisionMismatch",
        "The checkpoint's number format is not engine.precision; the engine is not started.",
        "State the precision of the checkpoint, or use another checkpoint.",
    )
    ENGINE_FAILED = (
        "EngineFailed",
        "The engine ends, or fails its one-token inference.",
        "Read the log of the container `triton`; memory and parallelism are usual causes.",
    )
    NO_ENDPOINT = (
        "NoEndpoint",
        "At least one model name of the policy has no available endpoint.",
        "Look at the ModelDeployments that the message names.",
    )
    CAPACITY_MISSING = (
        "CapacityMissing",
        "Fewer GPUs are seen in the site than its pools state.",
        "Check the nodes, or correct gpuPools.",
    )
    CAPACITY_STALE = (
        "CapacityStale",
        "The site's capacity was not observed lately.",
        "Check whether the site's API answers.",
    )
    UNKNOWN = ("Unknown", "Nothing is known yet.", _WAIT)


class PlacementReason(Reason):
    """Reasons of `status.placements[]`: what became of one placement?"""

    PLACED = "Placed", "The placement has a pool and its objects are applied.", _NOTHING
    SITE_NOT_FOUND = (
        "SiteNotFound",
        "No Site has that name.",
        "Create the Site, or correct the name.",
    )
    SITE_NOT_ACCEPTED = (
        "SiteNotAccepted",
        "The Site is refused and never was accepted.",
        "Repair what the Site's condition Accepted names.",
    )
    NEVER_ELIGIBLE = (
        "NeverEligible",
        (
            "No request of any allowed tenant could ever go there: clearance and residency refuse"
            " all labels."
        ),
        "Remove the placement, or ask compliance.",
    )
    POOL_NOT_FOUND = (
        "PoolNotFound",
        "The Site has no pool of that name.",
        "Correct the name, or leave pool out to take the cheapest pool that fits.",
    )
    NO_POOL_FITS = (
        "NoPoolFits",
        "No pool of the Site has enough GPUs, or enough memory, for one replica.",
        "Change parallelism or precision, or use another site.",
    )
    FIELDS_DO_NOT_FIT = (
        "FieldsDoNotFit",
        (
            "The placement states something that this type of site does not take, for example"
            " replicas on the InCluster site."
        ),
        "Change the fields that the message names.",
    )
    NOT_SUPPORTED_YET = (
        "NotSupportedYet",
        "This version of Demarc cannot place there: Provider sites and mode Engine come later.",
        "Use another site, or upgrade.",
    )
    SITE_UNREACHABLE = (
        "SiteUnreachable",
        "The site's Kubernetes API does not answer; what runs there keeps running.",
        "Check the network and the Site's conditions.",
    )
    APPLY_FAILED = (
        "ApplyFailed",
        "The site refused an object that the placement needs.",
        "Read the message; quotas, admission policies and missing permissions are usual causes.",
    )


REASONS = (AcceptedReason, ProgrammedReason, ReadyReason, PlacementReason)
"""All enums, in the order of the reference page."""
