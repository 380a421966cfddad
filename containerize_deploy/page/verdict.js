// What an answer means, in words. upload_page.html says the same, and a test holds the two together.

const SURE = 0.8; // below it lie 6 % of clear images from elsewhere, and three quarters of the mistakes

export const NONE = "None of these";
export const UNSURE = "Unsure";

const WHY = {
  [NONE]: "This image is unlike those that the model learned from, so most likely it shows none of its classes.",
  [UNSURE]: "No class reaches 80 %. Such answers are often wrong: look for yourself.",
};

/**
 * The verdict on an answer.
 *
 * @param {{label: string, probabilities: number[], score: number}} answer of the model.
 * @param {number} threshold the score from which on an image counts as one of the classes.
 * @returns {{kind: string, title: string, why?: string, bars: boolean}} `kind` is what it is counted under: a label,
 *     "Unsure" or "None of these". `bars` tells whether the probabilities are to be shown at once.
 */
export function verdict({ label, probabilities, score }, threshold) {
  if (!(score >= threshold)) return { kind: NONE, title: NONE, why: WHY[NONE], bars: false };
  if (Math.max(...probabilities) < SURE) return { kind: UNSURE, title: `${UNSURE}, perhaps ${label}`, why: WHY[UNSURE], bars: true };
  return { kind: label, title: label, bars: true };
}

export const percent = (share) => `${(100 * share).toFixed(1)} %`;
