"""`python -m seqstride`: the `seqstride` command, also under `torchrun … -m seqstride`."""

import sys

from seqstride.cli import main

sys.exit(main())
