import type { Command } from '../command.ts';
import { pointOf } from './image-act.ts';

/** `polyboot image rm`. */
export const imageRm: Command = {
  words: ['image', 'rm'],
  summary: 'remove an image, its files too when polyboot made them; or forget a point of it',
  args: [{ name: 'name', help: 'image, or IMAGE@NUMBER for a point of it' }],
  run: async (call, { client, screen }) => {
    const { name, point } = pointOf(call.arg('name'));
    if (point === undefined) {
      await client.removeImage(name);
      screen.line(`removed image ${name}`);
    } else {
      await client.forgetPoint(name, point);
      screen.line(`forgot point ${point} of image ${name}`);
    }
    return 0;
  },
};
