import { resolve } from 'node:path';
import type { Command } from '../command.ts';
import { makeImage, NEW_IMAGE_OPTIONS, noteOf } from './image-work.ts';

/** `polyboot image add`. */
export const imageAdd: Command = {
  words: ['image', 'add'],
  summary: 'use a file, an ISO, a block device (a zvol, a disk) or an NBD export where it is',
  args: [{ name: 'path', help: 'file or device on the server, or nbd://host/export' }],
  options: [
    { flags: '--name <NAME>', help: 'name (default: from the path)' },
    ...NEW_IMAGE_OPTIONS,
  ],
  run: (call, context) => {
    const name = call.text('name');
    const said = call.arg('path');
    const path = /^nbd(\+unix)?:\/\//.test(said) ? said : resolve(context.cwd, said);
    const more = { ...(name === undefined ? {} : { name }), ...noteOf(call) };
    return makeImage({ action: 'add', path, ...more }, call, context);
  },
};
