"""What do users write? The four kinds of `demarc.dev/v1alpha1`, as frozen models."""

from typing import TypeAlias

from demarc.api.v1alpha1.common import Category, Money, ObjectMeta, Scope
from demarc.api.v1alpha1.data_residency import DataResidency
from demarc.api.v1alpha1.model_deployment import ModelDeployment
from demarc.api.v1alpha1.routing_policy import RoutingPolicy
from demarc.api.v1alpha1.site import Site

Resource: TypeAlias = Site | ModelDeployment | RoutingPolicy | DataResidency

__all__ = [
    "Category",
    "DataResidency",
    "ModelDeployment",
    "Money",
    "ObjectMeta",
    "Resource",
    "RoutingPolicy",
    "Scope",
    "Site",
]
