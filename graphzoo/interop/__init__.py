"""Files and formats that graphzoo shares with other programs."""
