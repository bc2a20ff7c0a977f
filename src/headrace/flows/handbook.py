"""The sample of a new project: a made-up staff handbook, and questions on it with what is expected.

Written for this purpose. The questions are of the kind that people ask: some use other words than
the text, some name a thing that stands in several files, five have no answer there. Not here:
writing the files (``scaffold.py``).
"""

from __future__ import annotations

from typing import NamedTuple

DOCS = {
    "leave.md": """# Leave

## Annual leave

Every employee has 27 days of paid leave a year. Leave is counted in working days and can be taken
in half days. Unused days expire on 31 March of the following year; up to five of them may be
carried over if your manager agrees in writing before the end of December.

Ask for leave in the calendar at least two weeks ahead. For a single day, two days are enough. Your
manager answers within three working days; no answer means yes.

## Sick leave

Tell your manager before ten in the morning of the first day. A doctor's note is needed from the
third day on. Sick days do not reduce your annual leave: days of annual leave on which you were ill
are given back once the note has been handed in.

## Parental leave

Parents of a new child have 16 weeks of paid leave, to be taken within the first year. Both parents
may take it, at the same time or one after the other. Tell the people team eight weeks before the
first day.
""",
    "travel.md": """# Travel

## Before you book

Trips of up to 400 euros need no approval. Anything above is approved by the head of your
department, in the travel form, before it is booked. Trips outside Europe are also approved by the
finance team.

## Trains, flights and hotels

Travel by train where the journey takes less than five hours. Trains may be booked in first class
from a journey of three hours on. Flights are booked in economy class. A hotel may cost up to 140
euros a night, breakfast included; in Geneva, London and Zurich up to 190 euros.

## Expenses

Hand in receipts within 30 days. Meals are refunded by a flat rate of 38 euros a day, 19 euros on
the days of departure and return. Expenses are paid with the next salary.
""",
    "equipment.md": """# Equipment

## Laptops

New employees choose between a 14-inch and a 16-inch laptop. Laptops are replaced every four years.
A lost or stolen laptop is reported to the help desk within one hour, day or night, at extension
4444; it is locked from there.

## Working from home

For a desk at home the company pays up to 600 euros once in three years: chair, desk, screen or
headset. Keep the invoice and hand it in like travel expenses. Employees may work from home up to
three days a week, and from abroad up to 20 days a year within the European Union.

## Passwords

Passwords have at least 14 characters and live in the password manager. Nobody, the help desk
included, will ever ask you for one.
""",
    "pay.md": """# Pay

## Salary

Salaries are paid on the 25th of the month, or on the last working day before it. The payslip lies
in the people portal from the day before. A new bank account is entered there by the 10th to count
for the same month.

## Yearly review

Salaries are reviewed in March. The result is told to you by your manager in a talk, and holds from
1 April. Whoever joined after 1 October takes part in the following year.

## Overtime

Overtime is agreed on beforehand and taken as free time within three months. Work on Sundays and
public holidays counts one and a half times.
""",
    "joining.md": """# Joining and leaving

## The first weeks

The probation period lasts six months; during it, either side may give two weeks' notice. Every
newcomer has a guide from another team for the first 90 days.

## Giving notice

After probation the notice period is three months to the end of a month. Notice is given in writing
and on paper, to the people team.

## The last day

Badge, laptop and keys are handed in at the front desk. The reference is sent within four weeks of
the last day.
""",
    "learning.md": """# Learning

## Courses

Each employee has a budget of 1,200 euros a year for courses, books and conferences. What is not
used does not pass to the next year. Courses that take longer than a week are agreed with the head
of the department.

## Language lessons

Lessons in German and English take place on Tuesdays at eight in the morning, in room 2.14. They
count as working time.

## Talks

On the first Thursday of the month somebody tells the others for 30 minutes what they have learned.
Lunch is provided.
""",
    "office.md": """# The office

## Opening hours

The building is open from six in the morning until ten in the evening, and closed on Sundays. After
eight in the evening the badge opens only the side entrance in Mill Lane.

## Visitors

Visitors are entered in the visitor list a day ahead and fetched at the front desk. They wear a
yellow badge and are not left alone in the workshop.

## Parking

There are 18 places for cars behind the building; they are booked by the day in the people portal.
Bicycles stand in the cellar, where two sockets charge electric ones.
""",
    "safety.md": """# Safety

## Fire

The alarm is tested on the first Monday of the month at eleven. When it rings at any other time,
leave by the nearest stairs and meet at the chestnut tree in the yard. Lifts stay where they are.

## First aid

First-aid boxes hang next to the kitchens of each floor. The first-aiders of a floor are named on
the box. Every accident, a small one too, is written into the accident book on the same day.

## In the workshop

Goggles and safety shoes are worn behind the yellow line. New safety shoes are paid by the company
every two years, up to 130 euros.
""",
    "data.md": """# Data protection

## Personal data

Personal data of customers stays in the customer system and is never copied into spreadsheets.
Whoever finds such a copy tells the data protection officer, Ida Brandt, on the same day.

## Keeping and deleting

Applications are deleted six months after the decision. Invoices are kept for ten years, contracts
for ten years after their end.

## Customers ask

A customer who wants to know what is stored about them gets an answer within 30 days. The support
team collects it; the data protection officer checks it before it is sent.
""",
    "meetings.md": """# Meetings

## Rooms

Rooms are booked in the calendar. A room in which nobody has appeared after ten minutes is free for
others. The large hall is booked through the front desk, three weeks ahead.

## Together

The whole company meets on the last Friday of the month at three in the afternoon. There are no
meetings on Wednesday mornings, so that everybody can work in peace.

## Minutes

Decisions are written down on the same day by the person who invited, in the team's notebook.
""",
    "health.md": """# Health

## Check-ups

The company doctor, Dr. Okafor, is in the building on the second Wednesday of the month, in room
0.07. Eye tests for screen work are offered every three years. Flu jabs are given in October, free
of charge.

## Sport

The company pays half of the fee for a sports club, at most 25 euros a month. The team for the city
run in June trains on Thursdays at six in the evening.

## Quiet

Whoever is under strain can speak to the counsellor of the employee help line, at extension 5100, in
confidence. Five talks a year are free.
""",
}


class Asked(NamedTuple):
    """A question; ``answer`` None: the documents have none."""

    question: str
    answer: str | None = None
    document: str = ""


QUESTIONS = (
    Asked("How many days of paid leave does an employee have?", "27 days", "leave.md"),
    Asked("When do unused days of leave expire?", "31 March", "leave.md"),
    Asked("From which day on is a doctor's note needed?", "third day", "leave.md"),
    Asked("Who has to agree to a trip to Japan?", "finance team", "travel.md"),
    Asked("How much may a hotel in London cost?", "190 euros", "travel.md"),
    Asked("How often do I get a new laptop?", "every four years", "equipment.md"),
    Asked("How many days a week may I work from home?", "three days a week", "equipment.md"),
    Asked("On which day of the month is the salary paid?", "25th", "pay.md"),
    Asked("Can I be paid for overtime?", "free time", "pay.md"),
    Asked("How long is the probation period?", "six months", "joining.md"),
    Asked("What is the notice period after probation?", "three months", "joining.md"),
    Asked("How much money is there for courses each year?", "1,200 euros", "learning.md"),
    Asked("Where do the English lessons take place?", "room 2.14", "learning.md"),
    Asked("Which entrance can I use late in the evening?", "side entrance", "office.md"),
    Asked("How many parking places for cars are there?", "18", "office.md"),
    Asked("Where do we meet when the fire alarm rings?", "chestnut tree", "safety.md"),
    Asked("Who is the data protection officer?", "Ida Brandt", "data.md"),
    Asked("How long are invoices kept?", "ten years", "data.md"),
    Asked("When is the meeting of the whole company?", "last Friday", "meetings.md"),
    Asked("What does the company pay towards the gym?", "25 euros", "health.md"),
    Asked("What is the price of the company's shares?"),
    Asked("Which dentist does the health insurance recommend?"),
    Asked("How many days of leave do contractors have?"),
    Asked("What does a night in a hotel in Tokyo cost?"),
    Asked("Who won the city run last year?"),
)
