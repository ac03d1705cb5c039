"""Files of transfers: read, judged row by row, and imported all or not at all."""
