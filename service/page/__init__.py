"""One page for print about a predicted case: facts and pictures in, a PDF out. fpdf2 only."""
