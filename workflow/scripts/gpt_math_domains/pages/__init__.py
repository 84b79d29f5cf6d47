"""What a reader opens: the study on one page, finished or running, and Snakemake's report."""
