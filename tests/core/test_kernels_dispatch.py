"""Kernels: where they are used, that nothing imports Triton before, and that they compile."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqstride.core.kernels.dispatch import has_kernels, has_triton


def test_the_plain_path_stays_where_there_are_no_kernels():
    assert not has_kernels(torch.zeros(1, 2, 3))
    if torch.cuda.is_available() and has_triton():
        assert has_kernels(torch.zeros(1, 2, 3, device="cuda"))
        assert not has_kernels(torch.zeros(1, 2, 3, device="cuda", dtype=torch.float64))


def test_importing_the_package_leaves_triton_alone():
    code = "import seqstride, seqstride.core.kernels.dispatch, sys; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.long
@pytest.mark.skipif(not has_triton(), reason="Triton is not installed: there are no kernels to compile")
def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    script = Path(__file__).parents[1] / "support" / "compile_kernels.py"
    result = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    names = {line.split()[0] for line in result.stdout.splitlines()}
    assert names == {
        "_score_kernel", "_moments_kernel", "_positions_kernel", "_sums_kernel", "_align_kernel",
        "_align_backward_kernel", "_scores_backward_kernel", "_batch_moments_kernel", "_statistics_kernel",
        "_normalise_kernel", "_gradient_sums_kernel", "_gradient_totals_kernel", "_signal_gradient_kernel",
        "_spread_kernel", "_read_kernel", "_filter_kernel",
        "_tops_kernel", "_ramp_kernel", "_windows_kernel", "_stride_kernel",
        "_mean_kernel", "_mean_backward_kernel", "_largest_kernel", "_largest_backward_kernel",
    }  # fmt: skip
