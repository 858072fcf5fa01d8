import { resolve } from 'node:path';
import { IMAGE_FORMATS } from '#api/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';
import { actOnImage } from './image-act.ts';

/** `polyboot image export`. */
export const imageExport: Command = {
  words: ['image', 'export'],
  summary: 'write an image, or a point of it, into one file outside the library',
  details:
    'The kind follows from the name of the file: .img, .qcow2, .vmdk, .vhd, .vhdx, .vdi; with .gz or\n' +
    '.zst behind it the file is packed.\n' +
    'Example: polyboot image export win98@2 /backup/win98.qcow2',
  args: [
    { name: 'name', help: 'image, or IMAGE@NUMBER for a point of it' },
    { name: 'path', help: 'new file on the server' },
  ],
  options: [
    {
      flags: '--format <FORMAT>',
      help: 'kind of the file, where its name does not say',
      choices: IMAGE_FORMATS.out,
    },
    { flags: '--compress <PACKER>', help: 'pack the file', choices: ['gz', 'zst'] },
    JSON_OPTION,
  ],
  run: (call, context) => {
    const format = IMAGE_FORMATS.out.find((known) => known === call.text('format'));
    const packer = call.text('compress');
    return actOnImage(call, context, {
      action: 'export',
      path: resolve(context.cwd, call.arg('path')),
      ...(format === undefined ? {} : { format }),
      ...(packer === 'gz' || packer === 'zst' ? { compression: packer } : {}),
    });
  },
};
