import { JSON_OPTION, type Command } from '../command.ts';
import { makeImage } from './image-work.ts';

/** `polyboot image clone`. */
export const imageClone: Command = {
  words: ['image', 'clone'],
  summary: 'a full copy of an image; shares blocks where the file system can',
  args: [
    { name: 'from', help: 'image, or IMAGE@NUMBER for a point of it' },
    { name: 'name', help: 'name of the copy' },
  ],
  options: [JSON_OPTION],
  run: (call, context) => {
    const request = { action: 'clone', from: call.arg('from'), name: call.arg('name') } as const;
    return makeImage(request, call, context);
  },
};
