"""What `scipion-udl` wants to hold, checked on the rows of results.csv: met and missed, with the figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.rows import ENOUGH, FINAL, MODEL, NETWORK, ORACLE, TRAIN, Row, Rows

SURE = 0.99  # the oracle's share within 5 degrees from which on a case can be judged


@dataclass
class Check:
    """A threshold: its words, how many results were judged, and those that missed it, in words."""

    text: str
    judged: int = 0
    missed: list[str] = field(default_factory=list)

    def judge(self, holds: bool, words: str) -> None:
        """Count one result."""
        self.judged += 1
        if not holds:
            self.missed.append(words)


def accuracy(rows: Rows, name: str) -> list[Check]:
    """The thresholds of accuracy over the cases of a list (main, or set aside)."""
    rotation = Check("rotation error at most 1.3 times the oracle's, or 0.03 degrees above it, at SNR 0.03 and above")
    faint = Check("rotation error at most 1.5 times the oracle's at SNR 0.01")
    share = Check("share within 5 degrees at most 0.5 % below the oracle's at SNR 0.1 and 0.03 (modulo the view's own "
                  "exact symmetry only)")  # fmt: skip
    shift = Check("shift error at most 1.3 times the oracle's plus 0.15 px")
    peer = Check("rotation error no worse than 1.05 times the best peer's at SNR 0.03 and above")
    for case, own, oracle in _pairs(rows, name):
        snr, error, limit = float(own["snr"]), own["mean_sym"], oracle["mean_sym"]
        if snr in (0.1, 0.03):
            lacking = oracle["within_5_sym"] - own["within_5_sym"]
            share.judge(lacking <= 0.005, f"{case} ({own['within_5_sym']:.1%}, oracle {oracle['within_5_sym']:.1%})")
        if oracle["within_5_sym"] < SURE:
            continue
        words = f"{case} ({error:.2f}, oracle {limit:.2f}: {error / limit:.2f} times)"
        if snr >= 0.03:
            rotation.judge(error <= max(1.3 * limit, limit + 0.03), words)
            best = rows.best_peer(case)
            if best is not None:
                peer.judge(error <= 1.05 * best["mean_sym"], f"{case} ({error:.2f}, {best['method']} "
                           f"{best['mean_sym']:.2f})")  # fmt: skip
        elif snr == 0.01:
            faint.judge(error <= 1.5 * limit, words)
        most = 1.3 * oracle["shift_rms"] + 0.15
        shift.judge(own["shift_rms"] <= most, f"{case} ({own['shift_rms']:.2f} px, oracle {oracle['shift_rms']:.2f})")
    return [check for check in (rotation, faint, share, shift, peer) if check.judged]


def _pairs(rows: Rows, name: str) -> Iterator[tuple[str, Row, Row]]:
    """(case, own final row, oracle's row) of a list's cases that have both and enough particles."""
    for case in rows.cases(name):
        own, oracle = rows.find(case, FINAL), rows.find(case, ORACLE)
        if own and oracle and own["particles"] >= ENOUGH:
            yield case, own, oracle


def limits(rows: Rows) -> list[Check]:
    """The thresholds of very weak signal, of the network alone, of speed and of memory."""
    faint = Check("rotation error at most 1.5 times the oracle's at SNR 0.003, 512 particles")
    for case, own, oracle in _pairs(rows, "faint"):
        ratio = own["mean_sym"] / oracle["mean_sym"]
        faint.judge(ratio <= 1.5, f"{case} ({own['mean_sym']:.1f}, oracle {oracle['mean_sym']:.1f}: {ratio:.2f} times)")
    checks = [faint, network(rows), *speed(rows), *memory(rows)]
    return [check for check in checks if check.judged]


def network(rows: Rows) -> Check:
    """The network alone. The oracle looks at every particle by itself, so its figure of 512 particles serves 2000."""
    check = Check("network alone, 2000 particles, SNR 0.1, modulo 180: at most 4 times the oracle's or 0.4 degrees")
    for case in rows.cases("network"):
        row = rows.find(case, NETWORK)
        oracle = row and rows.find(f"{row['view']}_{row['snr']}_{ENOUGH}", ORACLE)
        if row and oracle:
            error, limit = row["mean_180"], max(4 * oracle["mean_180"], 0.4)
            check.judge(error <= limit, f"{row['view']} ({error:.2f}, at most {limit:.2f})")
    return check


def speed(rows: Rows) -> list[Check]:
    """CPU time with a model, of training, and the wall time of everything."""
    model = Check("at most 4 ms of CPU a particle with a given model, 10 000 particles, SNR 0.1")
    train = Check("training at most 60 s of CPU, however many particles")
    whole = Check("10 000 particles end to end, training included, in at most 2 minutes on 2 cores")
    for row in rows.of("large"):
        at_tenth = row["particles"] == 10_000 and row["snr"] == "0.1"
        if row["method"] == TRAIN:
            train.judge(row["cpu_s"] <= 60, f"{row['case']} ({row['cpu_s']:.0f} s)")
        elif row["method"] == MODEL and at_tenth:
            model.judge(row["cpu_ms_particle"] <= 4, f"{row['case']} ({row['cpu_ms_particle']:.2f} ms)")
        elif row["method"] == FINAL and at_tenth:
            whole.judge(row["wall_s"] <= 120, f"{row['case']} ({row['wall_s']:.0f} s)")
    return [model, train, whole]


def memory(rows: Rows) -> list[Check]:
    """Peak memory of large sets, and how little it grows with them."""
    most = Check("peak memory below 1.5 GB for 10 000 and 50 000 particles")
    same = Check("peak memory of 50 000 particles within 10 % of that of 10 000")
    large = [row for row in rows.of("large") if row["method"] in (FINAL, MODEL)]
    for row in large:
        most.judge(row["memory_mb"] < 1500, f"{row['case']}, {row['method']} ({row['memory_mb']:.0f} MB)")
        small = rows.find(row["case"].replace("_50000", "_10000"), row["method"])
        if row["particles"] == 50_000 and small:
            ratio = row["memory_mb"] / small["memory_mb"]
            same.judge(abs(ratio - 1) <= 0.1, f"{row['method']} ({ratio:.2f} times)")
    return [most, same]
