#!/usr/bin/env bash
# starfile 0.5.13 makes numbers of names that look like numbers, and writes them back as numbers.
#
# Expected: a round trip (read, write) keeps the names of micrographs and groups.
# Happens: rlnMicrographName 0012 comes back as 12, rlnGroupName 1e5 as 100000.000000.
# Why it matters: micrographs are often named by their number alone; after a script that filters particles with starfile,
# RELION groups and tables that are joined by micrograph no longer match. parse_as_string=[...] helps.
# Exits 0 where this is still so, 1 where it is not.
set -u
PYTHON=${PYTHON:-python3.11}
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
"$PYTHON" -m venv env && env/bin/python -m pip -q install starfile==0.5.13 || exit 2
{
  printf 'data_particles\n\nloop_\n_rlnImageName #1\n_rlnMicrographName #2\n_rlnGroupName #3\n_rlnAnglePsi #4\n'
  printf '000001@p.mrcs 0012 1e5 1.5\n000002@p.mrcs 0013 2e5 2.5\n'
} > in.star
env/bin/python - <<'P'
import sys
from importlib.metadata import version
import starfile
starfile.write(starfile.read("in.star"), "out.star")
kept = starfile.read("in.star", parse_as_string=["rlnMicrographName", "rlnGroupName"])
rows = [line.split() for line in open("out.star") if "@" in line]
print(f"starfile {version('starfile')}: micrograph 0012 -> {rows[0][1]}, group 1e5 -> {rows[0][2]}")
print(f"with parse_as_string: {kept['rlnMicrographName'][0]}, {kept['rlnGroupName'][0]}")
as_told = rows[0][1] == "12" and float(rows[0][2]) == 100000 and rows[0][2] != "1e5"
sys.exit(0 if as_told and kept["rlnMicrographName"][0] == "0012" else 1)
P
