import type { ActionResult, ImageActionInput } from '#api/mod.ts';
import { misused, type Call, type Context } from '../command.ts';
import { ProgressView } from '../progress.ts';
import { safe, type Screen } from '../screen.ts';

/** "win98@2" → the image, and the point when one is named. Throws `misused`. */
export function pointOf(text: string): { name: string; point?: number } {
  const [name = '', number] = text.split('@', 2);
  if (number === undefined) return { name };
  if (!/^[1-9]\d{0,8}$/.test(number)) {
    throw misused(
      `"${text}" names no point`,
      'write IMAGE@NUMBER; `image history` has the numbers',
    );
  }
  return { name, point: Number(number) };
}

/**
 * Has the server do something with the image (or point) named first, shows its progress, then what
 * it says. Ctrl-C cancels. Exit code 1 when a check found errors.
 */
export async function actOnImage(
  call: Call,
  { client, screen, clock, signal }: Context,
  action: ImageActionInput,
): Promise<number> {
  const { name, point } = pointOf(call.arg('name'));
  if (point !== undefined && !TAKES_POINT.has(action.action)) {
    throw misused(`image ${action.action} takes an image, not a point of one`);
  }
  const whole = point === undefined ? action : { ...action, point };
  const view = new ProgressView(screen, clock);
  try {
    const result = await client.actOnImage(
      name,
      whole,
      (step) => {
        view.step(step);
      },
      signal,
    );
    view.clear();
    if (call.flag('json')) screen.json(result);
    else showResult(screen, result);
    return result.problems.some(({ severity }) => severity === 'error') ? 1 : 0;
  } catch (e) {
    view.clear();
    if (!signal.aborted) throw e;
    screen.note('cancelled; nothing was changed');
    return 1;
  }
}

const TAKES_POINT: ReadonlySet<string> = new Set(['rollback', 'check', 'export']);

function showResult(screen: Screen, { image, notes, problems, fixed }: ActionResult): void {
  for (const text of notes) screen.line(safe(text));
  for (const text of fixed) screen.line(`${screen.paint('green', 'mended:')} ${safe(text)}`);
  for (const { severity, text } of problems) {
    const word = screen.paint(severity === 'error' ? 'red' : 'yellow', `${severity}:`);
    screen.line(`${word} ${safe(text)}`);
  }
  if (notes.length + problems.length + fixed.length === 0) screen.line(`${image.name}: done`);
}
