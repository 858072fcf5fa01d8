import type { Command } from '../command.ts';
import { makeImage, NEW_IMAGE_OPTIONS, noteOf } from './image-work.ts';

/** `polyboot image overlay`. */
export const imageOverlay: Command = {
  words: ['image', 'overlay'],
  summary: 'a new image on top of a golden one: takes no time and no space',
  details:
    'To change a golden image for all: make an overlay, boot a machine from it, `image promote` it.\n' +
    'Example: polyboot image overlay win98 win98-next',
  args: [
    { name: 'base', help: 'golden image, or IMAGE@NUMBER for a point of any' },
    { name: 'name', help: 'name of the new image' },
  ],
  options: NEW_IMAGE_OPTIONS,
  run: (call, context) => {
    const request = { action: 'overlay', base: call.arg('base'), name: call.arg('name') } as const;
    return makeImage({ ...request, ...noteOf(call) }, call, context);
  },
};
