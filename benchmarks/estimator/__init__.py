"""Fit and judge the FPGA estimator on public reports of hls4ml projects (the research corpus, never copied here)."""
