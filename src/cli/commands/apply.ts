import { RemoteError, type LabChange } from '#api/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';
import { locate, readLab } from '../lab-file.ts';
import { readText } from '../plan-options.ts';
import { safe, type Screen } from '../screen.ts';

/** `polyboot apply`. */
export const apply: Command = {
  words: ['apply'],
  summary: 'make machines and images match a file; a second time it changes nothing',
  details:
    'A section of the file is the whole truth about its subject; `polyboot dump` writes one.',
  args: [{ name: 'file', help: 'lab file (YAML)' }],
  options: [{ flags: '-n, --dry-run', help: 'only say what would change' }, JSON_OPTION],
  run: async (call, { client, screen, cwd }) => {
    const file = call.arg('file');
    const text = readText(cwd, file);
    const lab = readLab(text, file);
    try {
      const result = await client.apply(lab, call.flag('dry-run'));
      if (call.flag('json')) screen.json(result);
      else showChanges(screen, result.changes, result.dryRun);
      return 0;
    } catch (e) {
      throw e instanceof RemoteError && e.problems.length > 0 ? locate(e, text, file) : e;
    }
  },
};

const MARKS = { add: ['green', '+'], change: ['yellow', '~'], remove: ['red', '-'] } as const;

function showChanges(screen: Screen, changes: readonly LabChange[], dryRun: boolean): void {
  for (const { action, subject, name, details } of changes) {
    const [style, mark] = MARKS[action];
    screen.line(`${screen.paint(style, mark)} ${subject} ${safe(name)}`);
    for (const line of details) screen.line(`    ${safe(line)}`);
  }
  const count = changes.length === 1 ? '1 change' : `${changes.length} changes`;
  if (changes.length === 0) screen.line('nothing to change');
  else screen.line(dryRun ? `${count} to make (nothing was changed)` : `${count} made`);
}
