import type { Traffic } from './events.ts';

/** No traffic yet. */
export function noTraffic(): Traffic {
  return {
    readCommands: 0,
    readBytes: 0,
    writeCommands: 0,
    writtenBytes: 0,
    otherCommands: 0,
    coldReads: 0,
  };
}

/** Adds `more` to `to`. */
export function addTraffic(to: Traffic, more: Readonly<Traffic>): void {
  to.readCommands += more.readCommands;
  to.readBytes += more.readBytes;
  to.writeCommands += more.writeCommands;
  to.writtenBytes += more.writtenBytes;
  to.otherCommands += more.otherCommands;
  to.coldReads += more.coldReads;
}
