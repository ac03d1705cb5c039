"""Where data begins, as Dagster shows it: the inbox, the ledger, and what dbt declares as its sources.

No run makes them; runs and the sensor of the inbox say what they saw of them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ledger.anchors import Head

INBOX = dg.AssetKey("inbox")
LEDGER = dg.AssetKey("ledger")
_CUT = "ledger"


def source_specs(manifest: Mapping[str, Any]) -> list[dg.AssetSpec]:
    """The assets that stand before the models; dbt's manifest names its sources."""
    specs = [
        dg.AssetSpec(INBOX, description="Files of transfers that others drop into the home's `inbox/`."),
        dg.AssetSpec(
            LEDGER,
            deps=[INBOX],
            description="The append-only system of record, which the inbox, people and programs add to.",
        ),
    ]
    specs += [
        dg.AssetSpec(
            _key(source),
            deps=[LEDGER] if source["source_name"] == _CUT else [],
            description=source["description"],
        )
        for source in manifest["sources"].values()
    ]
    return [spec.replace_attributes(group_name="sources") for spec in specs]


def observe_cut(manifest: Mapping[str, Any], head: Head) -> Iterator[dg.AssetObservation]:
    """That a run froze the ledger, and up to where."""
    facts = {"entry_id": head.entry_id, "chain_digest": head.chain_digest.hex()}
    for key in (LEDGER, *(_key(source) for source in manifest["sources"].values())):
        if key.path[0] == _CUT:
            yield dg.AssetObservation(key, metadata=facts)


def _key(source: Mapping[str, Any]) -> dg.AssetKey:
    return dg.AssetKey([source["source_name"], source["name"]])
