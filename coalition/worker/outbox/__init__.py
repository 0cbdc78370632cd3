"""What a node keeps on its disk until the server has it: ends and logs of its runs."""
