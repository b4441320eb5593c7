"""GPU time on a Slurm cluster, whose members keep typing ``sbatch``. Source: specs/redemption.md §10."""
