"""Never lose money: lanes, vouchers, the payer's and the payee's books, the journal and the chain."""
