// Loaded before Azurite (node --require). Standard input is a pipe that only the emulator holds open: when the
// emulator ends in whatever way, SIGKILL included, Azurite is told to stop, which lets it flush its store.
"use strict";
process.stdin.on("end", () => process.kill(process.pid, "SIGTERM"));
process.stdin.resume();
process.stdin.unref();
// What Azurite says while it stops has no reader any more. Unhandled, EPIPE would end it before it has flushed.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);
