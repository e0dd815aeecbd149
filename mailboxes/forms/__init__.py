"""What pages ask for; the rules are said by the records."""
