import type { Command } from '../command.ts';

/** `polyboot up`: the server itself, in the foreground. */
export const up: Command = {
  words: ['up'],
  summary: 'serve everything, in the foreground; prints what it serves and where',
  options: [{ flags: '--config <FILE>', help: 'settings (default: ./polyboot.yaml, then /etc)' }],
  run: (call, { local }) => {
    const config = call.text('config');
    return local.up(config === undefined ? {} : { config });
  },
};
