// Times in the words of a language. Every function takes the time and the locale; none reads the clock.

/** Tells whether two times fall on one day where the person is. */
export function sameDay(a: number, b: number): boolean {
  return dayNumber(a) === dayNumber(b);
}

/** How many midnights lie between two times; negative when time is after now. */
export function daysBetween(time: number, now: number): number {
  return dayNumber(now) - dayNumber(time);
}

/** 10:46, or as the locale writes it. */
export function clock(time: number, locale: string): string {
  return formatter(locale, { timeStyle: "short" }).format(time);
}

/** The day as a separator says it: Today, Yesterday, Monday, 3 November, 3 November 2025. */
export function dayLabel(time: number, now: number, locale: string): string {
  const days = daysBetween(time, now);
  if (days === 0 || days === 1) return upperFirst(relativeDay(days, locale), locale);
  if (days > 1 && days < 7) return upperFirst(formatter(locale, { weekday: "long" }).format(time), locale);
  const year = new Date(time).getFullYear() === new Date(now).getFullYear() ? {} : ({ year: "numeric" } as const);
  return formatter(locale, { day: "numeric", month: "long", ...year }).format(time);
}

/** The time as a row of the list says it: 10:46, Yesterday, Sun, 3 Nov, 03/11/2025. */
export function rowTime(time: number, now: number, locale: string): string {
  if (time === 0) return "";
  const days = daysBetween(time, now);
  if (days <= 0) return clock(time, locale);
  if (days === 1) return upperFirst(relativeDay(1, locale), locale);
  if (days < 7) return formatter(locale, { weekday: "short" }).format(time);
  if (new Date(time).getFullYear() !== new Date(now).getFullYear()) {
    return formatter(locale, { dateStyle: "short" }).format(time);
  }
  return dayAndMonth(time, locale);
}

/** A moment inside a sentence, past or to come: 10:46, yesterday 10:46, 3 Nov 10:46. */
export function moment(time: number, now: number, locale: string): string {
  const days = daysBetween(time, now);
  if (days === 0) return clock(time, locale);
  const day = days === 1 ? relativeDay(1, locale) : dayAndMonth(time, locale);
  return `${day} ${clock(time, locale)}`;
}

const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;

/** A number of bytes in the largest unit that leaves a number above one: 900 byte, 3.4 MB. */
export function fileSize(bytes: number, locale: string): string {
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** step;
  return new Intl.NumberFormat(locale, {
    style: "unit",
    unit: units[step] ?? "byte",
    maximumFractionDigits: value < 10 && step > 0 ? 1 : 0,
  }).format(value);
}

/** The person's own flavour of a language of the interface: en-GB for en when the browser prefers it. */
export function regional(language: string, preferred: readonly string[]): string {
  return preferred.find((tag) => tag === language || tag.startsWith(`${language}-`)) ?? language;
}

/** A day that may lie long back: 3 Nov, 3 Nov 2025. */
export function shortDate(time: number, now: number, locale: string): string {
  const year = new Date(time).getFullYear() === new Date(now).getFullYear() ? {} : ({ year: "numeric" } as const);
  return formatter(locale, { day: "numeric", month: "short", ...year }).format(time);
}

function relativeDay(daysAgo: number, locale: string): string {
  return new Intl.RelativeTimeFormat(locale, { numeric: "auto" }).format(-daysAgo, "day");
}

function dayAndMonth(time: number, locale: string): string {
  return formatter(locale, { day: "numeric", month: "short" }).format(time);
}

function upperFirst(text: string, locale: string): string {
  return text.charAt(0).toLocaleUpperCase(locale) + text.slice(1);
}

/** Days since 1970 in local time: dates are compared as dates, so that summer time changes nothing. */
function dayNumber(time: number): number {
  const day = new Date(time);
  return Math.round(Date.UTC(day.getFullYear(), day.getMonth(), day.getDate()) / 86_400_000);
}

// Making a formatter costs a hundred times what using it does, and every message has a time.
const formatters = new Map<string, Intl.DateTimeFormat>();

function formatter(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = locale + JSON.stringify(options);
  let made = formatters.get(key);
  if (made === undefined) {
    made = new Intl.DateTimeFormat(locale, options);
    formatters.set(key, made);
  }
  return made;
}

/** What is left of a time in ms, as minutes and seconds: 9:05. */
export function countdown(left: number): string {
  const all = Math.max(0, Math.ceil(left / 1000));
  return `${Math.floor(all / 60)}:${String(all % 60).padStart(2, "0")}`;
}
