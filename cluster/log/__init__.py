"""Storage: Write-Ahead Log, Segmented Log, Low-Water Mark and snapshots, over the Disk port."""
