"""What each command of the command line does; `facevid.cli` picks one. They import what they need when they run."""
