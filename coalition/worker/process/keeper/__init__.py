"""The program that runs one worker's commands, one after the other, and ends all that they start.

It is a process of its own, so that everything below it belongs to the command that runs now,
however often that forks, whatever session or environment it has; and a small one, so that a start
is cheap: few modules of the standard library, and none of ours outside this folder. The ones here
import each other by their place in it, for the program does not know them as a part of Coalition,
whose import alone takes longer than many starts.
"""

from __future__ import annotations
