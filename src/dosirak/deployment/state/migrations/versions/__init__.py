"""One file for each schema; a file that was released is never changed."""
