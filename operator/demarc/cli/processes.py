"""Which processes run in pods? `agent`, `frontend` and `model`; people rarely call them."""

from __future__ import annotations

from pathlib import Path

import click

from demarc import telemetry
from demarc.api.v1alpha1.model_deployment import Precision
from demarc.cli import output
from demarc.engines import model_folder
from demarc.engines.model_folder import (
    DigestMismatchError,
    FolderMissingError,
    ModelFolderError,
    PrecisionMismatchError,
)
from demarc.local.simulator import folder as simulator_folder
from demarc.planning.evidence import (
    DIGEST_MISMATCH_EXIT,
    FOLDER_MISSING_EXIT,
    PRECISION_MISMATCH_EXIT,
)

_EXITS: tuple[tuple[type[ModelFolderError], int], ...] = (
    (FolderMissingError, FOLDER_MISSING_EXIT),
    (DigestMismatchError, DIGEST_MISMATCH_EXIT),
    (PrecisionMismatchError, PRECISION_MISMATCH_EXIT),
)


@click.command(
    epilog="Example:\n\n  demarc agent --role inner --home shanghai-dc --site shanghai-dc"
)
@click.option("--role", type=click.Choice(["inner", "egress", "edge"]), required=True)
@click.option("--home", required=True, help="The InCluster site where Demarc runs.")
@click.option("--site", required=True, help="The site where this gateway stands.")
@click.option("--client-port", default=8443, show_default=True, help="Inner: clients' port.")
def agent(role: str, home: str, site: str, client_port: int) -> None:
    """Run the agent beside an Envoy; addresses and mounts come from the environment."""
    from demarc.app import pods  # noqa: PLC0415  # what a pod runs is slow to load

    telemetry.set_up()
    try:
        pods.run_agent(role, home=home, site=site, client_port=client_port)
    except pods.PodError as error:
        output.fail(str(error), status=output.BAD_INPUT)


@click.command(
    epilog="Example:\n\n  demarc frontend --address 10.244.1.7 --triton 10.244.1.7:8001 ..."
)
@click.option("--address", required=True, help="Address that is bound.")
@click.option("--port", default=8443, show_default=True, help="Port of mutual TLS.")
@click.option("--health-port", default=8081, show_default=True, help="Port of probes and metrics.")
@click.option("--triton", required=True, help="HOST:PORT of Triton's gRPC service.")
@click.option("--model-dir", type=click.Path(path_type=Path), required=True)
@click.option("--served-name", required=True, help="Name of the model inside the bank.")
@click.option("--context-tokens", type=int, required=True, help="Prompt and answer together.")
@click.option("--allow", multiple=True, required=True, help="SPIFFE name of a client; repeatable.")
@click.option("--tls", type=click.Path(path_type=Path), required=True, help="Folder with tls.crt.")
@click.option("--journal", type=click.Path(path_type=Path), required=True, help="Usage counts.")
def frontend(
    address: str,
    port: int,
    health_port: int,
    triton: str,
    model_dir: Path,
    served_name: str,
    context_tokens: int,
    allow: tuple[str, ...],
    tls: Path,
    journal: Path,
) -> None:
    """Serve the OpenAI API over one Triton."""
    from demarc.app import pods  # noqa: PLC0415  # what a pod runs is slow to load

    telemetry.set_up()
    pods.run_frontend(
        pods.FrontendOptions(
            address=address,
            port=port,
            health_port=health_port,
            tls=tls,
            allow=allow,
            model_dir=model_dir,
            served_name=served_name,
            context_tokens=context_tokens,
            triton=triton,
            journal=journal,
        )
    )


@click.group()
def model() -> None:
    """Look at model folders, and make one for the simulator."""


@model.command(epilog="Example:\n\n  demarc model verify DIR --digest sha256:... --precision FP8")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--digest", required=True, help="Digest that the ModelDeployment states.")
@click.option("--precision", type=click.Choice([each.value for each in Precision]), required=True)
def verify(path: Path, digest: str, precision: str) -> None:
    """Compare a folder with its ModelDeployment; status 3: digest, 4: precision, 5: no folder."""
    try:
        model_folder.verify(path, digest, Precision(precision))
    except ModelFolderError as error:
        status = next((code for kind, code in _EXITS if isinstance(error, kind)), output.FAILED)
        output.fail(str(error), status=status)
    click.echo(f"{path} is {digest}")


@model.command(name="digest", epilog="Example:\n\n  demarc model digest volumes/models/glm-4.5-air")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
def print_digest(path: Path) -> None:
    """Print the digest of a model folder, for spec.model.digest."""
    try:
        click.echo(model_folder.read_digest(path))
    except ModelFolderError as error:
        output.fail(str(error), status=FOLDER_MISSING_EXIT)


@model.command(epilog="Example:\n\n  demarc model simulate volumes/models/tiny --name tiny")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the model; goes into config.json.")
@click.option(
    "--precision",
    type=click.Choice([each.value for each in Precision]),
    default=Precision.FP8.value,
    show_default=True,
)
def simulate(path: Path, name: str, precision: str) -> None:
    """Make a folder without weights that the simulator can serve, and print its digest."""
    try:
        if path.is_dir() and any(path.iterdir()) and not (path / "simulator.json").exists():
            output.fail(
                f"`{path}` holds files that the simulator did not make: name a new folder",
                status=output.BAD_INPUT,
            )
        simulator_folder.make(path, name=name, precision=precision)
    except OSError as error:
        output.fail(f"`{path}` cannot be written: {error.strerror}", status=output.BAD_INPUT)
    click.echo(model_folder.read_digest(path))
