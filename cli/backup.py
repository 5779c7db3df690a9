"""`vocal-remover backup` and `restore`: database and files together, on whatever the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import typer

from backend.backup import service as backups
from backend.backup.database import BackupFailed
from backend.backup.manifest import Manifest, NoBackup
from backend.inventory import service as inventory
from backend.settings import Settings
from backend.storage import StorageAway
from backend.wiring import Wiring, wire
from cli.logs import configure
from cli.service_lock import AlreadyRunning, ServiceLock
from migrations.prepare import prepare


def backup(folder: Path) -> None:
    """Everything as it is at this moment, into a new folder; the service may go on."""
    with _wired() as (_, wiring):
        made = backups.back_up(wiring.database, wiring.storage, folder)
    typer.echo(f"{_counted(made)} are in {folder}, checked against their sha256.")
    for key in made.lacking:
        typer.echo(f"{key} was missing or damaged in the storage itself.", err=True)
    for wrong in made.ledger:
        typer.echo(f"The ledger is wrong: {wrong}", err=True)
    if made.lacking or made.ledger:
        raise typer.Exit(1)


def restore(folder: Path) -> None:
    """A backup into an empty database and an empty storage; then look whether all of it is right."""
    with _wired() as (settings, wiring), closing(ServiceLock(settings.data_dir, "")):
        made = backups.restore(wiring.database, wiring.storage, folder)
        prepare(settings)
        inventory.claim(wiring.database, wiring.storage)
        with wiring.database.read() as session:
            wrong = backups.ledger_faults(session)
        found = [
            each for each in inventory.check(wiring.database, wiring.storage) if each.kind not in ("named", "young")
        ]
    for each in found:
        typer.echo(f"{each.kind}: {each.key}", err=True)
    for each_wrong in wrong:
        typer.echo(f"The ledger is wrong: {each_wrong}", err=True)
    if wrong or found:
        raise typer.Exit(1)
    typer.echo(f"{_counted(made)} of {made.made_at} are back; the ledger is right, and every row has its file.")


def _counted(made: Manifest) -> str:
    return f"{sum(made.rows.values())} rows and {made.files} files ({made.bytes / 1e6:.1f} MB)"


@contextmanager
def _wired() -> Iterator[tuple[Settings, Wiring]]:
    settings = Settings()
    configure(settings)
    wiring = wire(settings)
    try:
        yield settings, wiring
    except (BackupFailed, NoBackup) as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from error
    except AlreadyRunning as error:
        typer.echo(f"The service is running, at {error}: stop it first.", err=True)
        raise typer.Exit(1) from error
    except StorageAway as error:
        typer.echo(f"{error} Nothing is finished: see to it, then start again with an empty place.", err=True)
        raise typer.Exit(1) from error
    finally:
        wiring.database.dispose()
