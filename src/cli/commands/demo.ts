import type { Command } from '../command.ts';

/** `polyboot demo`: a virtual machine boots over a private network. */
export const demo: Command = {
  words: ['demo'],
  summary: 'no hardware needed: a virtual machine boots over a private network',
  options: [
    {
      flags: '--firmware <KIND>',
      help: 'firmware of the virtual machine',
      choices: ['bios', 'uefi'],
      fallback: 'uefi',
    },
  ],
  run: (call, { local }) =>
    local.demo({ firmware: call.text('firmware') === 'bios' ? 'bios' : 'uefi' }),
};
