"""The methods of four papers under one protocol, on the same patients."""
