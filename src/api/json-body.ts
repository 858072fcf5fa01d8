import { UserError } from '#base/mod.ts';
import { JSON_DEPTH_MAX } from './limits.ts';

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Refuses JSON nested deeper than `depthMax` before anything recursive sees it: one linear pass
 * that knows strings and brackets. Throws UserError invalid `json-too-deep`.
 */
export function checkJsonDepth(text: string, depthMax: number = JSON_DEPTH_MAX): void {
  let depth = 0;
  let inString = false;
  for (let at = 0; at < text.length; at += 1) {
    const c = text.charCodeAt(at);
    if (inString) {
      if (c === BACKSLASH) at += 1;
      else if (c === QUOTE) inString = false;
    } else if (c === QUOTE) inString = true;
    else if (c === 0x5b || c === 0x7b) {
      depth += 1;
      if (depth > depthMax) throw tooDeep(depthMax);
    } else if (c === 0x5d || c === 0x7d) depth -= 1;
  }
}

function tooDeep(depthMax: number): UserError {
  return new UserError('invalid', 'json-too-deep', {
    what: `the body of the request is nested deeper than ${depthMax} levels`,
  });
}
