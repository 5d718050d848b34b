"""One self-contained HTML page about a sweep; `page` is the file to read first."""
