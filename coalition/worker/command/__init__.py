"""What a job asks for, made ready to be started: its command, user and directories."""
