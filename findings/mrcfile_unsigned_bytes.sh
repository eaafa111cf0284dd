#!/usr/bin/env bash
# mrcfile reads bytes from 0 to 255 in an MRC file of mode 0 as signed, though IMOD's stamp says that they are not.
#
# Expected: programs of the IMOD family mark a file with bytes from 0 to 255 in words 39 and 40 of the header: the stamp
# 1146047817, and flags whose first bit, "bytes are signed", is not set. The header's largest value, 255, says it, too.
# A reader gives 0 to 255, or at least a warning.
# Found: int8, so that all grey values above 127 come out negative, and no warning.
# Why it matters: particles extracted from such files, or stacks kept as bytes to save space, come out torn: what is
# brightest becomes darkest. RELION 3.1 reads them in the same way. An alignment runs to its end on them.
# Exit code: 0 while it is so, 1 where the behaviour has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet "mrcfile==1.5.4" "numpy<2.3"
"$folder/env/bin/python" - "$folder/bytes.mrcs" <<'PYTHON'
import sys
import warnings

import mrcfile
import numpy as np

path = sys.argv[1]
values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
with mrcfile.new(path) as mrc:
    mrc.set_data(values.view(np.int8))  # the bytes as they are to lie in the file
    mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = 0, 255, 127.5
with open(path, "r+b") as file:
    file.seek(152)
    file.write((1146047817).to_bytes(4, "little") + (0).to_bytes(4, "little"))  # IMOD's stamp; bytes are not signed
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    with mrcfile.open(path) as mrc:
        data = np.array(mrc.data)
print(f"mrcfile {mrcfile.__version__}: read as {data.dtype}, from {data.min()} to {data.max()}; in the file: 0 to 255")
print(f"warnings: {[str(one.message) for one in told] or 'none'}")
as_told = data.dtype == np.int8 and data.min() == -128 and not told
print("as described" if as_told else "CHANGED: look again, and at what the docs say of it")
sys.exit(0 if as_told else 1)
PYTHON
