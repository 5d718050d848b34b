"""The commands of `tranquility`: arguments in, words out; the work is done by the packages beside this one."""
