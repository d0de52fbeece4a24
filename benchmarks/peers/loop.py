"""The plain loop in one process: python loop.py 60"""

import sys

from notebook import run

for index in range(int(sys.argv[1])):
    run(index)
