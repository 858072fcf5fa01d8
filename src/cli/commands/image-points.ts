import { JSON_OPTION, misused, type Call, type Command, type OptionSpec } from '../command.ts';
import { safe } from '../screen.ts';
import { actOnImage } from './image-act.ts';
import { overlayOwner } from './image-keep.ts';

const COMMENT_OPTION: OptionSpec = {
  flags: '--comment <TEXT>',
  help: 'what is worth to know of it',
};

function commentOf(call: Call): { comment?: string } {
  const comment = call.text('comment');
  return comment === undefined ? {} : { comment };
}

/** `polyboot image snapshot`. */
export const imageSnapshot: Command = {
  words: ['image', 'snapshot'],
  summary: 'keep the present state as a point to return to; takes no time',
  args: [{ name: 'name', help: 'image' }],
  options: [COMMENT_OPTION, JSON_OPTION],
  run: (call, context) => actOnImage(call, context, { action: 'snapshot', ...commentOf(call) }),
};

/** `polyboot image rollback`. */
export const imageRollback: Command = {
  words: ['image', 'rollback'],
  summary: 'return to a point (the newest, or IMAGE@NUMBER); what was written since is gone',
  args: [{ name: 'name', help: 'image, or IMAGE@NUMBER' }],
  options: [JSON_OPTION],
  run: (call, context) => actOnImage(call, context, { action: 'rollback' }),
};

/** `polyboot image freeze`. */
export const imageFreeze: Command = {
  words: ['image', 'freeze'],
  summary: 'make it a golden image: nobody writes it any more, machines get overlays',
  args: [{ name: 'name', help: 'image' }],
  options: [COMMENT_OPTION, JSON_OPTION],
  run: (call, context) => actOnImage(call, context, { action: 'freeze', ...commentOf(call) }),
};

/** `polyboot image promote`. */
export const imagePromote: Command = {
  words: ['image', 'promote'],
  summary: 'make what was written on an overlay the new version of its golden image',
  details:
    'Other machines get it at their next boot. Overlays that are kept stay on their version until\n' +
    'they are discarded (polyboot image discard).',
  args: [{ name: 'name', help: 'overlay image; with --machine a machine, or MACHINE.DRIVE' }],
  options: [
    { flags: '--machine', help: 'promote what a machine wrote on its own overlay' },
    COMMENT_OPTION,
    JSON_OPTION,
  ],
  run: async (call, context) => {
    if (!call.flag('machine'))
      return actOnImage(call, context, { action: 'promote', ...commentOf(call) });
    if (call.arg('name').includes('@')) throw misused('--machine takes MACHINE, or MACHINE.DRIVE');
    const { client, screen } = context;
    const owner = overlayOwner(call.arg('name'));
    const result = await client.actOnOverlays({ action: 'promote', ...owner, ...commentOf(call) });
    if (call.flag('json')) screen.json(result);
    else for (const note of result.notes) screen.line(safe(note));
    return 0;
  },
};
